package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"trainer/fault"
	"trainer/files/modeldir"
	"trainer/files/peft"
	"trainer/files/safetensors"
	"trainer/llama"
	"trainer/training/config"
	"trainer/training/data"
)

// modelFolder finds the folder of a model: the name itself, or a model of that name in the
// local Hub cache, never on the network.
func modelFolder(name string) (string, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return name, nil
	} else if err == nil {
		return "", &fault.Error{Kind: fault.Files, Where: "--model_name " + name, Found: "a file", Want: "a folder with config.json"}
	}
	missing := &fault.Error{Kind: fault.Files, Where: "--model_name " + name, Found: "no such folder", Want: "a model folder", Remedy: "name the folder that holds config.json"}
	cache := modeldir.HubCache()
	if !modeldir.IsHubName(name) || cache == "" {
		return "", missing
	}
	if snapshot, ok := modeldir.Snapshot("models", name); ok {
		return snapshot, nil
	}
	missing.Found = "no such folder, and no such model in the Hub cache " + cache
	return "", missing
}

// required refuses settings a command cannot do without.
func required(values map[string]string, names ...string) error {
	for _, name := range names {
		if values[name] == "" {
			s, _ := config.Find(name)
			return fault.New(fault.Usage, "--%s is missing: %s", name, s.Help)
		}
	}
	return nil
}

// checkModel looks at config and tensor headers of a model, so that a mistake shows before
// anything is started. It returns the folder, and notes in c how a base is kept that is
// stored quantised.
func checkModel(c *config.Config) (string, error) {
	dir, err := modelFolder(cmp.Or(c.LlamaProPath, c.ModelName))
	if err != nil {
		return "", err
	}
	shape, err := llama.ReadConfig(dir)
	if err != nil {
		return "", err
	}
	if c.Type().Expanded() {
		if err := shape.FindNewBlocks(dir); err != nil {
			return "", err
		}
	}
	if _, err := shape.Targets(c.Targets()); err != nil {
		return "", err
	}
	folder, err := safetensors.OpenFolder(dir)
	if err != nil {
		return "", err
	}
	defer folder.Close()
	if err := llama.CheckWeights(shape, folder); err != nil {
		return "", err
	}
	stored, err := storedQuantiser(shape, folder)
	if err != nil {
		return "", err
	}
	if err := c.KeepStored(stored); err != nil {
		return "", err
	}
	return dir, checkAdapter("--init_adapter", c.InitAdapter)
}

// storedQuantiser names what the first quantised weight of a model was quantised by, as
// --quantization does; empty where none is.
func storedQuantiser(shape llama.Config, folder *safetensors.Folder) (string, error) {
	stored, err := llama.Quantised(shape, folder)
	if err != nil {
		return "", err
	}
	for _, t := range shape.Tensors() {
		if stored.Has(t.Name) {
			w, err := stored.Describe(t.Name)
			if err != nil {
				return "", err
			}
			return strings.ToLower(w.Format.Kind.String()), nil
		}
	}
	return "", nil
}

// checkAdapter reads the config of an adapter folder, if one is named.
func checkAdapter(flag, dir string) error {
	if dir == "" {
		return nil
	}
	if _, err := os.Stat(dir); err != nil {
		return &fault.Error{Kind: fault.Files, Where: flag + " " + dir, Found: "no such folder", Want: "a PEFT adapter folder"}
	}
	_, err := peft.ReadConfig(dir)
	return err
}

// checkShape refuses the name of a shape nobody knows.
func checkShape(name string) error {
	if _, ok := llama.ShapeByName(name); ok {
		return nil
	}
	e := &fault.Error{Kind: fault.Usage, Where: "--shape", Found: fmt.Sprintf("%.80q", name), Want: "one of " + strings.Join(llama.ShapeNames(), ", ")}
	if near := config.Nearest(name, llama.ShapeNames()); near != "" {
		e.Remedy = "did you mean " + near + "?"
	}
	return e
}

// checkData looks at the first record of a data set, if one is named.
func checkData(name string, c config.Config) error {
	if name == "" {
		return nil
	}
	return data.Check(name, data.Options{Format: c.DatasetFormat, ContextLength: c.ContextLength, Seed: c.Seed})
}
