// Package smalldisk gives tests a real file system that is soon full. Only tests import it.
package smalldisk
