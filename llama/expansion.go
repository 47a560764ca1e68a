package llama

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"

	"trainer/fault"
	"trainer/files/jsonstrict"
)

// Expansion is a model of Old layers grown to New by blocks that change nothing until they
// are trained: copies of a layer whose outputs are zero. (Wu et al. 2024, LLaMA Pro)
type Expansion struct{ Old, New int }

// NewExpansion grows a model by a share of its layers. The error is a *fault.Error of kind
// Usage where the rate adds no layer, or more than one for each.
func NewExpansion(layers int, rate float64) (Expansion, error) {
	e := Expansion{layers, layers + int(float64(layers)*min(max(rate, 0), 2))}
	if e.New <= e.Old || e.New > 2*e.Old {
		return e, &fault.Error{Kind: fault.Usage, Where: "--expansion_rate", Found: fmt.Sprint(rate),
			Want: fmt.Sprintf("a number from %.4g, which adds one layer to %d, to 1, which doubles them", 1/float64(layers), layers)}
	}
	return e, nil
}

// split is how many layers lie before each copy.
func (e Expansion) split() int { return e.Old / (e.New - e.Old) }

// Sources maps every layer of the grown model to the one it is copied from.
func (e Expansion) Sources() []int {
	var sources []int
	for layer := range e.Old {
		sources = append(sources, layer)
		if (layer+1)%e.split() == 0 && len(sources)-layer <= e.New-e.Old {
			sources = append(sources, layer)
		}
	}
	return sources
}

// NewBlocks are the layers of the grown model that are copies.
func (e Expansion) NewBlocks() []int {
	var blocks []int
	for k := range e.New - e.Old {
		blocks = append(blocks, e.split()+k*(e.split()+1))
	}
	return blocks
}

// Name is what a model's folder is called after the expansion.
func (e Expansion) Name(model string) string {
	return fmt.Sprintf("%s_blk_exp-%d-%d", model, e.Old, e.New)
}

// Expand is the config of the grown model, nil where this one was not read from a file. It
// names the new layers in llama_pro.new_blocks.
func (c Config) Expand(e Expansion) []byte {
	if c.raw.Kind() != jsonstrict.Object {
		return nil
	}
	v := c.raw.With("num_hidden_layers", jsonstrict.Integer(int64(e.New))).With("llama_pro", e.describe())
	return append(jsonstrict.Marshal(c.expandWindows(v, e)), '\n')
}

// describe is the config's llama_pro.
func (e Expansion) describe() jsonstrict.Value {
	var blocks []jsonstrict.Value
	for _, layer := range e.NewBlocks() {
		blocks = append(blocks, jsonstrict.Integer(int64(layer)))
	}
	return jsonstrict.Map(jsonstrict.Member{Key: "new_blocks", Value: jsonstrict.List(blocks...)},
		jsonstrict.Member{Key: "original_layers", Value: jsonstrict.Integer(int64(e.Old))})
}

// expandWindows gives copies the window of the layer they are copied from.
func (c Config) expandWindows(v jsonstrict.Value, e Expansion) jsonstrict.Value {
	sources := e.Sources()
	if types, ok := v.Get("layer_types"); ok && types.Kind() == jsonstrict.Array {
		var expanded []jsonstrict.Value
		for _, source := range sources {
			expanded = append(expanded, types.Members()[source].Value)
		}
		v = v.With("layer_types", jsonstrict.List(expanded...))
	}
	first, stated := v.Get("max_window_layers")
	from, _ := first.AsInt()
	if !stated && c.Windows != nil && families[c.ModelType].windows == windowByLayers {
		from, stated = defaultWindowed, true
	}
	if !stated {
		return v
	}
	for layer, source := range sources {
		if int64(source) >= from {
			return v.With("max_window_layers", jsonstrict.Integer(int64(layer)))
		}
	}
	return v.With("max_window_layers", jsonstrict.Integer(max(from, int64(e.New))))
}

// readExpansion reads llama_pro.new_blocks.
func (c *Config) readExpansion(f *jsonstrict.Fields) {
	o := f.Object("llama_pro")
	if o == nil {
		return
	}
	blocks, _ := o.Get("new_blocks")
	for _, m := range blocks.Members() {
		layer, ok := m.Value.AsInt()
		last := -1
		if n := len(c.NewBlocks); n > 0 {
			last = c.NewBlocks[n-1]
		}
		if !ok || layer <= int64(last) || layer >= int64(c.NumLayers) {
			o.Refuse("new_blocks", m.Value.Found(), fmt.Sprintf("layers from 0 to %d, ascending", c.NumLayers-1), "correct the file")
			return
		}
		c.NewBlocks = append(c.NewBlocks, int(layer))
	}
}

// expandedName is the end of the name of an expanded model's folder.
var expandedName = regexp.MustCompile(`blk_exp-([0-9]{1,4})-([0-9]{1,4})$`)

// FindNewBlocks sets NewBlocks, where the config does not, to those of the numbers at the end of
// the name of the model's folder, as NAME_blk_exp-32-35. Errors are *fault.Error of kind Files.
func (c *Config) FindNewBlocks(dir string) error {
	if len(c.NewBlocks) > 0 {
		return nil
	}
	refuse := func(found, want string) error {
		return &fault.Error{Kind: fault.Files, Where: dir, Found: found, Want: want, Remedy: "make an expanded model with trainer expand"}
	}
	if path, err := filepath.Abs(dir); err == nil {
		dir = path
	}
	numbers := expandedName.FindStringSubmatch(filepath.Base(dir))
	if numbers == nil {
		return refuse("no llama_pro.new_blocks in "+ConfigName, "an expanded model, or a folder whose name ends in blk_exp-OLD-NEW")
	}
	var e Expansion
	e.Old, _ = strconv.Atoi(numbers[1]) // of at most four digits
	e.New, _ = strconv.Atoi(numbers[2])
	if e.Old < 1 || e.New <= e.Old || e.New > 2*e.Old || e.New != c.NumLayers {
		return refuse(fmt.Sprintf("a name that says %d layers of which %d are old", e.New, e.Old), fmt.Sprintf("one that says the %d layers of %s", c.NumLayers, ConfigName))
	}
	c.NewBlocks = e.NewBlocks()
	if c.raw.Kind() == jsonstrict.Object {
		c.raw = c.raw.With("llama_pro", e.describe())
	}
	return nil
}

// Grow is the shape of the model after an expansion.
func (c Config) Grow(e Expansion) Config {
	if c.Windows != nil {
		windows := make([]int, 0, e.New)
		for _, source := range e.Sources() {
			windows = append(windows, c.Windows[source])
		}
		c.Windows = windows
	}
	c.NumLayers, c.NewBlocks = e.New, e.NewBlocks()
	return c
}
