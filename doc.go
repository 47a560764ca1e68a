// Package trainer holds what the program hands to people who write backends: the header of
// the border, the C that backends share, and the skeleton of a backend with its project.
// These are the files this tree itself is built from; there is no second copy.
package trainer
