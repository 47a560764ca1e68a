package llama

import "trainer/files/jsonstrict"

// describe is the config.json of a config by ShapeByName, as Transformers names the fields.
// Published shapes have no rope scaling, and the same window in every layer or none.
func (c Config) describe() jsonstrict.Value {
	var members []jsonstrict.Member
	add := func(name string, v jsonstrict.Value) {
		members = append(members, jsonstrict.Member{Key: name, Value: v})
	}
	integer := func(name string, i int) { add(name, jsonstrict.Integer(int64(i))) }
	var architectures []jsonstrict.Value
	for _, name := range c.Architectures {
		architectures = append(architectures, jsonstrict.Text(name))
	}
	add("architectures", jsonstrict.List(architectures...))
	add("model_type", jsonstrict.Text(c.ModelType))
	integer("hidden_size", c.HiddenSize)
	integer("intermediate_size", c.IntermediateSize)
	integer("num_hidden_layers", c.NumLayers)
	integer("num_attention_heads", c.NumHeads)
	integer("num_key_value_heads", c.NumKVHeads)
	integer("head_dim", c.HeadDim)
	integer("vocab_size", c.VocabSize)
	integer("max_position_embeddings", c.MaxPositions)
	add("rms_norm_eps", jsonstrict.Float(c.RMSNormEps))
	add("rope_theta", jsonstrict.Float(c.RopeTheta))
	if c.Windows != nil {
		integer("sliding_window", c.Windows[0])
	}
	for _, token := range []struct {
		name string
		id   int
	}{{"bos_token_id", c.BOS}, {"pad_token_id", c.PAD}} {
		if token.id >= 0 {
			integer(token.name, token.id)
		}
	}
	if len(c.EOS) == 1 {
		integer("eos_token_id", c.EOS[0])
	}
	add("hidden_act", jsonstrict.Text("silu"))
	add("tie_word_embeddings", jsonstrict.Boolean(c.TieWordEmbeddings))
	return jsonstrict.Map(members...)
}
