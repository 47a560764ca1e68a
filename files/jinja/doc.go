// Package jinja renders chat templates: the part of the Jinja language that the templates
// of language models use, with the settings Hugging Face gives it (trim_blocks,
// lstrip_blocks, break and continue, the generation block, raise_exception, tojson).
//
// A template comes from strangers. It sees only the variables it is given, changes none of
// them, reaches no file, function or attribute of the program, and ends with an error when
// it takes too many steps, writes too much or nests too deep. There is no include, import
// or inheritance, and no clock: what a template writes is a function of its variables.
package jinja
