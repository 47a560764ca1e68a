package quantised

import (
	"fmt"
	"slices"

	"trainer/fault"
	"trainer/files/jsonstrict"
)

// mlxConfig is what config.json says of MLX's quantisation: for all modules, and for those
// that differ.
type mlxConfig struct {
	common  mlxGroup
	modules map[string]mlxGroup
}

type mlxGroup struct{ group, bits int64 }

// parseMLX reads the member "quantization" of a config.json, which may be absent.
func parseMLX(config []byte) (c mlxConfig, err error) {
	c.modules = map[string]mlxGroup{}
	d, err := jsonstrict.NewDecoder(config, jsonstrict.Limits{})
	if err != nil {
		return c, inConfig(err)
	}
	err = d.Object(func(key string) error {
		if key != "quantization" {
			return d.Skip()
		}
		return c.object(d, &c.common, true)
	})
	return c, inConfig(err)
}

func inConfig(err error) error {
	if err == nil {
		return nil
	}
	return &fault.Error{Kind: fault.Files, Where: "config.json", Field: "quantization", Err: err, Remedy: "quantise the model again"}
}

// object reads bits and group size, and behind the names of modules those of modules.
func (c *mlxConfig) object(d *jsonstrict.Decoder, g *mlxGroup, outer bool) error {
	return d.Object(func(key string) (err error) {
		kind, err := d.Kind()
		if err != nil {
			return err
		}
		switch {
		case key == "group_size":
			g.group, err = d.Int()
		case key == "bits":
			g.bits, err = d.Int()
		case key == "mode":
			var mode string
			if mode, err = d.String(); err == nil && mode != "affine" {
				err = d.Errorf("mode %q is not affine", mode)
			}
		case outer && kind == jsonstrict.Object:
			own := *g
			err = c.object(d, &own, false)
			c.modules[key] = own
		default:
			err = d.Skip()
		}
		return err
	})
}

func (c *mlxConfig) of(module string) mlxGroup {
	if own, ok := c.modules[module]; ok {
		return own
	}
	return c.common
}

// describeMLX describes a weight of MLX's affine quantisation.
func (r *Reader) describeMLX(module string) (*Weight, error) {
	name, g := module+".weight", r.mlx.of(module)
	info, err := r.info(name)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]int64{2, 3, 4, 5, 6, 8}, g.bits) || g.group < 8 || g.group%8 != 0 {
		return nil, refuse(name, fmt.Sprintf("%d bits in groups of %d in config.json", g.bits, g.group), "2, 3, 4, 5, 6 or 8 bits in groups of a multiple of 8")
	}
	if (info.DType != "U32" && info.DType != "I32") || len(info.Shape) != 2 || info.Shape[1]*32%g.bits != 0 {
		return nil, refuse(name, fmt.Sprintf("%s %v", info.DType, info.Shape), fmt.Sprintf("a matrix of U32 that holds codes of %d bits", g.bits))
	}
	w := &Weight{Format: Format{Kind: MLX, Bits: int(g.bits), Group: g.group}, Out: info.Shape[0], In: info.Shape[1] * 32 / g.bits}
	if _, err := shape(name, w.Out, w.In); err != nil {
		return nil, err
	}
	if w.In%g.group != 0 {
		return nil, refuse(name, fmt.Sprintf("%d columns", w.In), fmt.Sprintf("a multiple of the group, %d", g.group))
	}
	return w, nil
}

// fillMLX reads codes, which lie as the border has them, 32 bits a word, scales and zeros.
func (r *Reader) fillMLX(module string, w *Weight) (err error) {
	n := w.Out * w.In
	if w.Operands[Data], err = r.bytes(module+".weight", n*int64(w.Format.Bits)/8); err != nil {
		return err
	}
	for slot, part := range map[int]string{Scale: ".scales", Zero: ".biases"} {
		if w.Operands[slot], err = r.float32s(module+part, n/w.Format.Group); err != nil {
			return err
		}
	}
	return nil
}
