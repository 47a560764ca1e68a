package llama

import (
	"errors"
	"io/fs"

	"trainer/files/jsonstrict"
	"trainer/files/modeldir"
)

const generationName = "generation_config.json"

// ReadStops reads the ids that end a text of a model: those of its generation_config.json,
// where it has one, and of its config. Errors are *fault.Error of kind Files.
func (c Config) ReadStops(dir string) ([]int, error) {
	d, err := modeldir.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	text, err := d.ReadFile(generationName, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return c.EOS, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := jsonstrict.ParseFields(d.Path(generationName), text, jsonstrict.Limits{Bytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	return append(c.readEOS(f), c.EOS...), f.Err()
}
