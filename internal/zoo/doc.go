// Package zoo builds folders of hostile backends for tests: files that are no library or a
// broken one, and builds of core/plugin/testdata/backend.c of which each misbehaves in one
// way. Only tests import it.
package zoo
