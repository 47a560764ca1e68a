package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"

	"trainer/core/abi"
	"trainer/internal/abilayout"
)

const (
	header  = "core/abi/trainer_backend.h"
	example = "docs/backend/example/trainer-backend-example.c"
)

func main() {
	dir := filepath.Join("core", "abi", "frozen", fmt.Sprintf("%d.%d", abi.ABIMajor, abi.ABIMinor))
	if err := freeze(dir); err != nil {
		fmt.Fprintln(os.Stderr, "abifreeze:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

// freeze fills the folder of the current minor.
func freeze(dir string) error {
	layout, err := abilayout.Read(header)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(layout, "", " ")
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(filepath.Join(dir, "layout.json")); err == nil {
		var kept abilayout.Layout
		if err := json.Unmarshal(old, &kept); err != nil {
			return err
		}
		if !reflect.DeepEqual(kept, layout) {
			return fmt.Errorf("%s holds another layout: a change of the layout needs a new minor: %v", dir, kept.Breaks(layout))
		}
		return nil // what is kept stays as it is
	}
	if err := os.MkdirAll(filepath.Join(dir, "trainer"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "layout.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	for from, to := range map[string]string{header: "trainer/trainer_backend.h", example: "trainer-backend-frozen.c"} {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o644); err != nil {
			return err
		}
	}
	return compile(dir)
}

// compile makes the library of this platform.
func compile(dir string) error {
	lib := filepath.Join(dir, runtime.GOOS+"-"+runtime.GOARCH, "trainer-backend-frozen.so")
	if err := os.MkdirAll(filepath.Dir(lib), 0o755); err != nil {
		return err
	}
	text, err := exec.Command("cc", "-O3", "-std=c11", "-D_GNU_SOURCE", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-shared", "-s", "-I"+dir,
		"-o", lib, filepath.Join(dir, "trainer-backend-frozen.c"), "-Wl,-z,now", "-lm", "-lpthread").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}
