package tokenizer

import "slices"

// template is a TemplateProcessing post-processor: tokens around the text.
type template struct {
	before, after []int32
}

// apply returns ids with the template's tokens around them if addSpecial.
func (t template) apply(ids []int32, addSpecial bool) []int32 {
	if !addSpecial {
		return ids
	}
	return slices.Concat(t.before, ids, t.after)
}
