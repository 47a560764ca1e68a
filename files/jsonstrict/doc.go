// Package jsonstrict reads JSON that nobody vouches for and writes JSON as Python's
// json.dumps lays it out. It refuses what readers disagree about: duplicate keys, bad
// UTF-8, lone surrogates, deep nesting, text after the value; keys match exactly. Only
// JSON enters here: what a field means belongs to whoever owns the file.
package jsonstrict
