package plugin

import "strings"

// FileName is how the library of a backend is named on this system.
func FileName(name string) string { return filePrefix + name + nativeSuffix() }

// ValidName reports whether a backend may have a name: letters, digits, dots, dashes and
// underscores, at most 64, beginning with a letter or digit, and no word that --backend
// takes for itself.
func ValidName(name string) bool {
	return validName.MatchString(name) && strings.ToLower(name) != "auto"
}
