package surgery

import (
	"context"
	"fmt"
	"strings"

	"trainer/files/safetensors"
	"trainer/llama"
)

// Expand writes the weights of a model grown by e into a folder, durably. Every layer is a
// copy of its source; in the new blocks what leads back to the residual stream is zero, so
// that they change nothing until they are trained.
func Expand(ctx context.Context, base *Base, e llama.Expansion, dir string) error {
	grown := base.Config
	grown.NumLayers = e.New
	sources, isNew := e.Sources(), map[int]bool{}
	for _, layer := range e.NewBlocks() {
		isNew[layer] = true
	}
	var parts []part
	for _, t := range grown.Tensors() {
		p := part{spec: safetensors.Spec{Name: t.Name, Shape: t.Shape}, from: t.Name, copied: true}
		if layer, rest, ok := splitLayer(t.Name); ok {
			p.from = fmt.Sprintf("%s%d.%s", layerPrefix, sources[layer], rest)
			p.zero = isNew[layer] && (strings.Contains(rest, "o_proj") || strings.Contains(rest, "down_proj"))
		}
		p.spec.DType = base.dtype(p.from)
		parts = append(parts, p)
	}
	return writeModel(ctx, dir, base, base, parts)
}

const layerPrefix = "model.layers."

// splitLayer takes the name of a layer's tensor or module apart.
func splitLayer(name string) (layer int, rest string, ok bool) {
	text, ok := strings.CutPrefix(name, layerPrefix)
	number, rest, dotted := strings.Cut(text, ".")
	if !ok || !dotted {
		return 0, "", false
	}
	_, err := fmt.Sscanf(number, "%d", &layer)
	return layer, rest, err == nil
}
