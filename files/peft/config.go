package peft

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/files/jsonstrict"
	"trainer/files/modeldir"
)

// The files of an adapter folder.
const (
	ConfigName  = "adapter_config.json"
	WeightsName = "adapter_model.safetensors"
)

// Version is the PEFT release whose fields WriteConfig writes.
const Version = "0.21.2"

// Config is what an adapter_config.json of type LORA says. (Hu et al. 2021)
type Config struct {
	R             int      // rank
	Alpha         float64  // the adapter's output is scaled by Alpha/R, or Alpha/sqrt(R) with UseRSLoRA
	Dropout       float64  // of the adapter's input, 0 to 1
	TargetModules []string // names or endings of names of modules
	TargetPattern string   // instead of TargetModules: a regular expression, or "all-linear"
	BaseModel     string   // name or path of the base model, for information only
	UseRSLoRA     bool
	UseDoRA       bool
	RankPattern   map[string]int     // rank of the modules a pattern matches
	AlphaPattern  map[string]float64 // alpha of those
}

// maxRank bounds the rank of an adapter.
const maxRank = 1 << 16

// plain are the fields that change what an adapter computes and that are not supported:
// each must be absent, null, empty or, where it says so, the value here.
var plain = map[string]string{
	"bias": "none", "fan_in_fan_out": "", "modules_to_save": "", "layer_replication": "",
	"trainable_token_indices": "", "target_parameters": "", "lora_bias": "", "use_qalora": "",
	"alora_invocation_tokens": "", "arrow_config": "", "use_bdlora": "", "kasa_config": "",
	"velora_config": "", "monteclora_config": "",
}

// ReadConfig reads the adapter_config.json of a folder. Fields that are not known are
// ignored; an adapter of another type, or one whose fields change the computation in a way
// that is not supported, is refused. Errors are *fault.Error of kind Files.
func ReadConfig(dir string) (Config, error) {
	d, err := modeldir.Open(dir)
	if err != nil {
		return Config{}, err
	}
	defer d.Close()
	return readConfig(d)
}

func readConfig(d *modeldir.Dir) (Config, error) {
	text, err := d.ReadFile(ConfigName, 1<<20)
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(d.Path(ConfigName), text)
}

// ParseConfig reads the text of an adapter_config.json; file is its name for sentences.
func ParseConfig(file string, text []byte) (Config, error) {
	f, err := jsonstrict.ParseFields(file, text, jsonstrict.Limits{Bytes: 1 << 20})
	if err != nil {
		return Config{}, err
	}
	f.Require("peft_type", "r", "lora_alpha", "target_modules")
	if t := f.String("peft_type", "LORA"); t != "LORA" {
		f.Refuse("peft_type", fmt.Sprintf("%.40q", t), `"LORA"`, "name a LoRA adapter")
	}
	c := Config{
		R:         int(f.Int("r", 1, 1, maxRank)),
		Alpha:     f.Float("lora_alpha", 1, -math.MaxFloat32, math.MaxFloat32),
		Dropout:   f.Float("lora_dropout", 0, 0, 1),
		BaseModel: f.String("base_model_name_or_path", ""),
		UseRSLoRA: f.Bool("use_rslora", false),
		UseDoRA:   f.Bool("use_dora", false),
	}
	c.readTargets(f)
	c.readPatterns(f)
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		refuseUnlessPlain(f, name, plain[name])
	}
	return c, f.Err()
}

// readTargets reads target_modules, a list or a pattern.
func (c *Config) readTargets(f *jsonstrict.Fields) {
	if v, _ := f.Get("target_modules"); v.Kind() == jsonstrict.String {
		c.TargetPattern, _ = v.AsString()
	} else {
		c.TargetModules = f.Strings("target_modules")
	}
}

// readPatterns reads ranks and alphas of single modules.
func (c *Config) readPatterns(f *jsonstrict.Fields) {
	if ranks := f.Object("rank_pattern"); ranks != nil {
		c.RankPattern = map[string]int{}
		for _, m := range ranks.Value().Members() {
			ranks.Require(m.Key)
			c.RankPattern[m.Key] = int(ranks.Int(m.Key, 1, 1, maxRank))
		}
	}
	if alphas := f.Object("alpha_pattern"); alphas != nil {
		c.AlphaPattern = map[string]float64{}
		for _, m := range alphas.Value().Members() {
			alphas.Require(m.Key)
			c.AlphaPattern[m.Key] = alphas.Float(m.Key, 1, -math.MaxFloat32, math.MaxFloat32)
		}
	}
}

// refuseUnlessPlain refuses a field that says something, other than the standard string.
func refuseUnlessPlain(f *jsonstrict.Fields, name, standard string) {
	v, ok := f.Get(name)
	if !ok {
		return
	}
	text, isString := v.AsString()
	truth, isBool := v.AsBool()
	empty := isString && text == standard || isBool && !truth || !isString && !isBool && v.Kind() != jsonstrict.Number && len(v.Members()) == 0
	if !empty {
		want := "null or false"
		if standard != "" {
			want = fmt.Sprintf("%q", standard)
		}
		f.Refuse(name, v.Found(), want, "this kind of adapter is not supported")
	}
}

// WriteConfig writes the adapter_config.json of a folder, durably, with every field that
// PEFT writes. Errors are *fault.Error of kind Disk.
func WriteConfig(dir string, c Config) error {
	return atomicfile.WriteFile(filepath.Join(dir, ConfigName), c.text())
}

// text is the file's content.
func (c Config) text() []byte { return jsonstrict.Marshal(jsonstrict.Map(c.members()...)) }

// members are the fields as PEFT's LoraConfig has them.
func (c Config) members() []jsonstrict.Member {
	var members []jsonstrict.Member
	set := func(name string, v jsonstrict.Value) {
		members = append(members, jsonstrict.Member{Key: name, Value: v})
	}
	set("base_model_name_or_path", textOrNull(c.BaseModel))
	set("bias", jsonstrict.Text("none"))
	set("inference_mode", jsonstrict.Boolean(true))
	set("init_lora_weights", jsonstrict.Boolean(true))
	set("lora_alpha", number(c.Alpha))
	set("lora_dropout", jsonstrict.Float(c.Dropout))
	set("megatron_core", jsonstrict.Text("megatron.core"))
	set("peft_type", jsonstrict.Text("LORA"))
	set("peft_version", jsonstrict.Text(Version))
	set("qalora_group_size", jsonstrict.Integer(16))
	set("r", jsonstrict.Integer(int64(c.R)))
	set("target_modules", c.targets())
	set("task_type", jsonstrict.Text("CAUSAL_LM"))
	set("use_dora", jsonstrict.Boolean(c.UseDoRA))
	set("use_rslora", jsonstrict.Boolean(c.UseRSLoRA))
	set("alpha_pattern", pattern(c.AlphaPattern, number))
	set("rank_pattern", pattern(c.RankPattern, func(r int) jsonstrict.Value { return jsonstrict.Integer(int64(r)) }))
	set("loftq_config", jsonstrict.Map())
	for _, name := range []string{"ensure_weight_tying", "fan_in_fan_out", "lora_bias", "use_qalora"} {
		set(name, jsonstrict.Boolean(false))
	}
	for _, name := range []string{"alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config",
		"exclude_modules", "kasa_config", "layer_replication", "layers_pattern", "layers_to_transform", "lora_ga_config",
		"megatron_config", "modules_to_save", "monteclora_config", "revision", "target_parameters",
		"trainable_token_indices", "use_bdlora", "velora_config"} {
		set(name, jsonstrict.Value{})
	}
	return members
}

func (c Config) targets() jsonstrict.Value {
	if c.TargetPattern != "" {
		return jsonstrict.Text(c.TargetPattern)
	}
	var names []jsonstrict.Value
	for _, name := range c.TargetModules {
		names = append(names, jsonstrict.Text(name))
	}
	return jsonstrict.List(names...)
}

// number writes whole numbers as integers, as people give them.
func number(f float64) jsonstrict.Value {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return jsonstrict.Integer(int64(f))
	}
	return jsonstrict.Float(f)
}

func pattern[T any](values map[string]T, value func(T) jsonstrict.Value) jsonstrict.Value {
	var members []jsonstrict.Member
	for name, v := range values {
		members = append(members, jsonstrict.Member{Key: name, Value: value(v)})
	}
	return jsonstrict.Map(members...)
}

func textOrNull(s string) jsonstrict.Value {
	if s == "" {
		return jsonstrict.Value{}
	}
	return jsonstrict.Text(s)
}

// check refuses a config that ReadConfig would refuse.
func (c Config) check() error {
	if c.R < 1 || c.R > maxRank || math.IsNaN(c.Alpha) || math.Abs(c.Alpha) > math.MaxFloat32 || !(c.Dropout >= 0 && c.Dropout <= 1) {
		return &fault.Error{Kind: fault.Usage, Where: ConfigName, Found: fmt.Sprintf("rank %d, alpha %g, dropout %g", c.R, c.Alpha, c.Dropout),
			Want: fmt.Sprintf("a rank from 1 to %d, a finite alpha and a dropout from 0 to 1", maxRank)}
	}
	return nil
}
