package training

import (
	"fmt"
	"strings"

	"trainer/core/abi"
	"trainer/core/op"
)

// Storage is how a frozen base is kept: the name of a quantiser and what it may be asked.
type Storage struct {
	Name string
}

// storages are the formats of projections [out, in] by the names of their quantisers.
var storages = []struct {
	name   string
	format func(s Storage, out, in int64) abi.QuantFormat
}{
	{"none", nil},
	{"nf4", func(Storage, int64, int64) abi.QuantFormat { return op.NF4(true) }},
}

// Format is the format of a projection, for Method.Storage; nil where the base stays as it is.
func (s Storage) Format() (func(out, in int64) abi.QuantFormat, error) {
	var names []string
	for _, x := range storages {
		switch {
		case x.name == s.Name && x.format == nil:
			return nil, nil
		case x.name == s.Name:
			return func(out, in int64) abi.QuantFormat { return x.format(s, out, in) }, nil
		}
		names = append(names, x.name)
	}
	return nil, fmt.Errorf("quantiser %q is not one of %s", s.Name, strings.Join(names, ", "))
}
