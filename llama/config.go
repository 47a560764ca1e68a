package llama

import (
	"cmp"
	"fmt"
	"slices"

	"trainer/files/jsonstrict"
	"trainer/files/modeldir"
)

// Config is the shape of a model. The bounds of ReadConfig make every product of its sizes,
// and the bytes of all weights at 8 bytes each, fit in 63 bits.
type Config struct {
	ModelType         string
	Architectures     []string
	HiddenSize        int
	IntermediateSize  int
	NumLayers         int
	NumHeads          int // query heads
	NumKVHeads        int // key and value heads; divides NumHeads
	HeadDim           int // width of a head, even; NumHeads*HeadDim may differ from HiddenSize
	RotaryDim         int // its first features, which are rotated, even
	VocabSize         int
	MaxPositions      int // context length it was made for
	RMSNormEps        float64
	RopeTheta         float64
	RopeScaling       RopeScaling
	Windows           []int  // keys a query sees, by layer; 0, or nil, = all up to its own
	QKVBias           bool   // q, k and v have biases
	OutBias           bool   // o has one
	MLPBias           bool   // gate, up and down have
	QKNorm            bool   // queries and keys are normalised by head
	Fused             bool   // q, k and v are one matrix, gate and up another
	TieWordEmbeddings bool   // the head is the embedding
	NewBlocks         []int  // layers that an expansion added, ascending, where the config says so
	TorchDType        string // of the checkpoint, as "bfloat16"; "" where it does not say
	BOS, PAD          int    // token ids, -1 for none
	EOS               []int
	AutoMap           bool // the config names code of its own, which is never run

	raw jsonstrict.Value
}

// The largest sizes accepted.
const (
	maxLayers    = 4096
	maxHidden    = 1 << 20
	maxVocab     = 1 << 24
	maxPositions = 1 << 26
	maxHeads     = 1 << 16
	maxInner     = 1 << 24 // intermediate size, and heads * head_dim
)

// unsupported is the remedy for what would change the computation without being computed.
const unsupported = "this variant of the architecture is not supported"

// ConfigName is the file of a model folder that describes it.
const ConfigName = "config.json"

// ReadConfig reads the config.json of a model folder. Errors are *fault.Error of kind Files
// that name file and field.
func ReadConfig(dir string) (Config, error) {
	d, err := modeldir.Open(dir)
	if err != nil {
		return Config{}, err
	}
	defer d.Close()
	text, err := d.ReadFile(ConfigName, 1<<20)
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(d.Path(ConfigName), text)
}

// ParseConfig reads the text of a config.json; file is its name for sentences.
func ParseConfig(file string, text []byte) (Config, error) {
	f, err := jsonstrict.ParseFields(file, text, jsonstrict.Limits{Bytes: 1 << 20})
	if err != nil {
		return Config{}, err
	}
	c := Config{raw: f.Value()}
	m := c.readFamily(f)
	if f.Err() == nil {
		f.Require("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
		c.readSizes(f, m.absent)
		c.readRope(f, m)
		c.readBiases(f, m)
		c.readWindows(f, m)
		c.readTokens(f)
		c.readExpansion(f)
		refuseUnsupported(f)
		c.TorchDType = readDType(f)
		c.TieWordEmbeddings = f.Bool("tie_word_embeddings", false)
		_, c.AutoMap = f.Get("auto_map")
	}
	if err := f.Err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func (c *Config) readSizes(f *jsonstrict.Fields, absent sizes) {
	size := func(name string, absent, high int) int { return int(f.Int(name, int64(absent), 1, int64(high))) }
	c.HiddenSize = size("hidden_size", 1, maxHidden)
	c.IntermediateSize = size("intermediate_size", 1, maxInner)
	c.NumLayers = size("num_hidden_layers", 1, maxLayers)
	c.NumHeads = size("num_attention_heads", 1, maxHeads)
	kvHeads := c.NumHeads
	if _, stated := f.Value().Get("num_key_value_heads"); !stated && absent.kvHeads > 0 { // null means as many as query heads
		kvHeads = absent.kvHeads
	}
	c.NumKVHeads = size("num_key_value_heads", kvHeads, maxHeads)
	c.VocabSize = size("vocab_size", 1, maxVocab)
	c.MaxPositions = size("max_position_embeddings", absent.positions, maxPositions)
	c.RMSNormEps = f.Float("rms_norm_eps", absent.eps, 1e-30, 1)
	c.HeadDim = size("head_dim", cmp.Or(absent.headDim, max(1, c.HiddenSize/c.NumHeads)), maxInner)
	const remedy = "correct the file"
	if c.NumHeads%c.NumKVHeads != 0 {
		f.Refuse("num_key_value_heads", fmt.Sprint(c.NumKVHeads), fmt.Sprintf("a divisor of num_attention_heads, %d", c.NumHeads), remedy)
	}
	if _, stated := f.Get("head_dim"); !stated && absent.headDim == 0 && c.HiddenSize%c.NumHeads != 0 {
		f.Refuse("num_attention_heads", fmt.Sprint(c.NumHeads), fmt.Sprintf("a divisor of hidden_size, %d, where head_dim is not given", c.HiddenSize), remedy)
	}
	if c.HeadDim%2 != 0 {
		f.Refuse("head_dim", fmt.Sprint(c.HeadDim), "an even number, as rotary embeddings need", remedy)
	}
	if c.HeadDim > maxInner/c.NumHeads {
		f.Refuse("head_dim", fmt.Sprint(c.HeadDim), fmt.Sprintf("at most %d in all %d heads", maxInner, c.NumHeads), remedy)
	}
}

// readTokens reads the ids of special tokens; eos_token_id may be a list.
func (c *Config) readTokens(f *jsonstrict.Fields) {
	id := func(name string) int { return int(f.Int(name, -1, -1, int64(c.VocabSize)-1)) }
	c.BOS, c.PAD, c.EOS = id("bos_token_id"), id("pad_token_id"), c.readEOS(f)
}

// readEOS reads the ids that end a text.
func (c Config) readEOS(f *jsonstrict.Fields) (ids []int) {
	v, _ := f.Get("eos_token_id")
	if v.Kind() != jsonstrict.Array {
		if eos := f.Int("eos_token_id", -1, -1, int64(c.VocabSize)-1); eos >= 0 {
			ids = append(ids, int(eos))
		}
		return ids
	}
	for _, m := range v.Members() {
		eos, ok := m.Value.AsInt()
		if !ok || eos < 0 || eos >= int64(c.VocabSize) {
			f.Refuse("eos_token_id", m.Value.Found(), fmt.Sprintf("token ids from 0 to %d", c.VocabSize-1), "correct the file")
		}
		ids = append(ids, int(eos))
	}
	return ids
}

// refuseUnsupported refuses what would change the computation without being computed.
func refuseUnsupported(f *jsonstrict.Fields) {
	if act := f.String("hidden_act", "silu"); act != "silu" {
		f.Refuse("hidden_act", fmt.Sprintf("%.40q", act), `"silu"`, unsupported)
	}
	for _, name := range []string{"attention_dropout", "resid_pdrop", "embd_pdrop"} {
		if p := f.Float(name, 0, 0, 1); p != 0 {
			f.Refuse(name, fmt.Sprint(p), "0", unsupported)
		}
	}
	refuseQuantisers(f)
}

// refuseQuantisers refuses what was quantised by a program whose weights are not read. MLX
// describes itself in a member of its own, and newer ones a second time in the usual one.
func refuseQuantisers(f *jsonstrict.Fields) {
	const name = "quantization_config"
	v, ok := f.Get(name)
	if _, mlx := f.Get("quantization"); !ok || mlx {
		return
	}
	method, _ := v.Get("quant_method")
	if by, _ := method.AsString(); by != "bitsandbytes" && by != "hqq" {
		f.Refuse(name, "a checkpoint quantised by "+method.Found(), "bitsandbytes, hqq or MLX's quantization", "name the folder of the original weights: they are quantised while they load")
	}
}

// readDType reads torch_dtype, which newer versions name dtype.
func readDType(f *jsonstrict.Fields) string {
	name := "dtype"
	if _, ok := f.Get(name); !ok {
		name = "torch_dtype"
	}
	dtype := f.String(name, "")
	if !slices.Contains([]string{"", "float32", "bfloat16", "float16", "float64"}, dtype) {
		f.Refuse(name, fmt.Sprintf("%.40q", dtype), "float32, bfloat16, float16 or float64", "choose a checkpoint of one of these")
	}
	return dtype
}

// JSON is the config.json the config was read from, or one for a config by ShapeByName, with
// the dtype of its weights set, laid out as Transformers does; nil for the zero Config.
func (c Config) JSON(dtype string) []byte {
	if c.ModelType == "" {
		return nil
	}
	return append(jsonstrict.Marshal(c.stored(dtype)), '\n')
}

// Quantised is JSON of a model that MLX's affine quantisation stores: codes of so many bits,
// so many weights a scale.
func (c Config) Quantised(dtype string, bits, group int64) []byte {
	q := jsonstrict.Map(jsonstrict.Member{Key: "group_size", Value: jsonstrict.Integer(group)}, jsonstrict.Member{Key: "bits", Value: jsonstrict.Integer(bits)})
	return append(jsonstrict.Marshal(c.stored(dtype).With("quantization", q).With("quantization_config", q)), '\n')
}

func (c Config) stored(dtype string) jsonstrict.Value {
	v, set := c.raw, false
	if v.Kind() != jsonstrict.Object {
		v = c.describe()
	}
	for _, name := range []string{"dtype", "torch_dtype"} {
		if _, ok := v.Get(name); ok {
			v, set = v.With(name, jsonstrict.Text(dtype)), true
		}
	}
	if !set { // the name that old and new versions read
		v = v.With("torch_dtype", jsonstrict.Text(dtype))
	}
	return v
}
