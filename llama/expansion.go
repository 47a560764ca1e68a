package llama

import (
	"fmt"

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
	var blocks []jsonstrict.Value
	for _, layer := range e.NewBlocks() {
		blocks = append(blocks, jsonstrict.Integer(int64(layer)))
	}
	v := c.raw.With("num_hidden_layers", jsonstrict.Integer(int64(e.New)))
	v = v.With("llama_pro", jsonstrict.Map(
		jsonstrict.Member{Key: "new_blocks", Value: jsonstrict.List(blocks...)},
		jsonstrict.Member{Key: "original_layers", Value: jsonstrict.Integer(int64(e.Old))}))
	return append(jsonstrict.Marshal(c.expandWindows(v, e)), '\n')
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
