package main

import (
	"fmt"
	"os"
	"path/filepath"

	kit "trainer"
)

func main() {
	if err := write("docs/backend"); err != nil {
		fmt.Fprintln(os.Stderr, "backenddocs:", err)
		os.Exit(1)
	}
}

// write makes the pages in a folder. Pages of ops that are gone are removed.
func write(dir string) error {
	all, err := pages()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, "ops")); err != nil {
		return err
	}
	for name, text := range all {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// headerText is the header as it is handed out.
func headerText() (header, error) {
	text, err := kit.Files.ReadFile("core/abi/trainer_backend.h")
	return header(text), err
}
