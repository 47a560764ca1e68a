package safetensors

import (
	"errors"
	"fmt"
	"strings"

	"trainer/fault"
	"trainer/files/jsonstrict"
	"trainer/files/modeldir"
)

// maxShards bounds the files that stay open.
const maxShards = 1024

// indexReader reads a model.safetensors.index.json.
type indexReader struct {
	where   string
	tensors int
	shards  map[string][]string // file -> its tensors
}

// parseIndex returns the tensors of each file an index names. where is the index's path.
func parseIndex(where string, text []byte) (map[string][]string, error) {
	r := indexReader{where: where}
	d, err := jsonstrict.NewDecoder(text, jsonstrict.Limits{Bytes: maxHeader})
	if err == nil {
		err = d.Object(func(key string) error {
			if key == "weight_map" {
				r.shards = map[string][]string{}
				return d.Object(func(tensor string) error { return r.entry(d, tensor) })
			}
			return d.Skip()
		})
	}
	if err == nil {
		err = d.End()
	}
	var sentence *fault.Error
	switch {
	case errors.As(err, &sentence):
		return nil, err
	case err != nil:
		return nil, &fault.Error{Kind: fault.Files, Where: where, Err: err, Remedy: refetch}
	case len(r.shards) == 0:
		return nil, r.refuse("field weight_map", "no tensors", "at least one")
	}
	return r.shards, nil
}

// entry reads the file of one tensor.
func (r *indexReader) entry(d *jsonstrict.Decoder, tensor string) error {
	file, err := d.String()
	if err != nil {
		return err
	}
	field := tensorField(tensor)
	switch {
	case !modeldir.IsPlain(file) || !strings.HasSuffix(file, ".safetensors") || file == ".safetensors":
		return r.refuse(field, fmt.Sprintf("the file name %.80q", file), "a plain name NAME.safetensors of letters, digits, '.', '_' and '-'")
	case len(tensor) > maxName:
		return r.refuse(field, fmt.Sprintf("a name of %d bytes", len(tensor)), fmt.Sprintf("at most %d", maxName))
	case r.tensors == maxTensors:
		return r.refuse(field, "more tensors", fmt.Sprintf("at most %d", maxTensors))
	}
	r.tensors++
	r.shards[file] = append(r.shards[file], tensor)
	if len(r.shards) > maxShards {
		return r.refuse(field, "more files", fmt.Sprintf("at most %d", maxShards))
	}
	return nil
}

func (r *indexReader) refuse(field, found, want string) error {
	return &fault.Error{Kind: fault.Files, Where: r.where, Field: field, Found: found, Want: want, Remedy: "fetch the model from a source you trust"}
}
