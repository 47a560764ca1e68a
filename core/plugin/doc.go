// Package plugin finds, probes, loads and calls backends. It is the only user of purego
// and, besides core/abi, of unsafe. What may enter: everything about foreign libraries
// and the border's calls. What may not: what the calls are for (core/session).
package plugin
