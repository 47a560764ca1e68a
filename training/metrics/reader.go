package metrics

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
)

// lastBytes is more than any line of metrics.jsonl has.
const lastBytes = 64 << 10

// ReadEnd reads the last line of metrics.jsonl. ok is false where the file is missing or
// does not close with an end line: the run broke off, or goes on.
func ReadEnd(path string) (end End, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return end, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return end, false
	}
	from := max(0, info.Size()-lastBytes)
	text, err := io.ReadAll(io.NewSectionReader(f, from, lastBytes))
	if err != nil || !bytes.HasSuffix(text, []byte("\n")) {
		return end, false
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	line := text[bytes.LastIndexByte(text, '\n')+1:]
	return end, json.Unmarshal(line, &end) == nil && end.Event == "end"
}
