package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"trainer/fault"
)

// maxFileBytes bounds a configuration file.
const maxFileBytes = 1 << 20

// ReadFile assigns the settings of a YAML file to c: one mapping from names to values. A
// key that is unknown or stands twice is refused with its line. Errors are *fault.Error of
// kind Usage.
func ReadFile(c *Config, path string) error {
	text, err := readBounded(path)
	if err != nil {
		return err
	}
	return Parse(c, path, text)
}

func readBounded(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	var inner *fs.PathError
	switch {
	case errors.As(err, &inner):
		return nil, &fault.Error{Kind: fault.Usage, Where: "--config " + path, Err: inner.Err, Remedy: "name a YAML file of settings"}
	case err != nil:
		return nil, err
	case len(text) > maxFileBytes:
		return nil, &fault.Error{Kind: fault.Usage, Where: path, Found: fmt.Sprintf("%d bytes", len(text)), Want: fmt.Sprintf("at most %d", maxFileBytes)}
	}
	return text, nil
}

// Parse is ReadFile for text that was read; path is its name for sentences.
func Parse(c *Config, path string, text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, more yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil // nothing is set
	}
	if err == nil && !errors.Is(decoder.Decode(&more), io.EOF) {
		err = errors.New("more than one document")
	}
	if err != nil {
		return &fault.Error{Kind: fault.Usage, Where: path, Found: "broken YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), Remedy: "correct the file"}
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nodeFault(path, root, "", "no mapping", "lines like batch_size: 8")
	}
	source := &Source{config: c, where: path, given: map[string]string{}}
	for i := 0; i < len(root.Content); i += 2 {
		if err := source.pair(root.Content[i], root.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// pair assigns one line.
func (s *Source) pair(key, value *yaml.Node) error {
	line := fmt.Sprintf("line %d", key.Line)
	if key.Kind != yaml.ScalarNode {
		return nodeFault(s.where, key, "", "no name", "the name of a setting")
	}
	if setting := find(key.Value); setting != nil && s.given[setting.Name] == Canonical(key.Value) {
		return &fault.Error{Kind: fault.Usage, Where: s.where, Field: line, Found: key.Value + " a second time", Want: "every setting once"}
	}
	values, ok := scalars(key.Value, value)
	if !ok {
		return nodeFault(s.where, value, ": "+key.Value, "a nested value", "a plain value")
	}
	return s.set(key.Value, values, line)
}

// scalars are the values of a node: itself, or the members of a list where the setting is
// one. A null is the empty text.
func scalars(name string, n *yaml.Node) ([]string, bool) {
	setting := find(name)
	if n.Kind == yaml.SequenceNode && (setting == nil || setting.IsList()) {
		var values []string
		for _, member := range n.Content {
			if member.Kind != yaml.ScalarNode {
				return nil, false
			}
			values = append(values, member.Value)
		}
		return values, true
	}
	if n.Kind != yaml.ScalarNode {
		return nil, false
	}
	if n.Tag == "!!null" {
		if setting != nil && setting.IsList() {
			return nil, true
		}
		return []string{setting.orDefault()}, true
	}
	return []string{n.Value}, true
}

// orDefault is what a null stands for.
func (s *Setting) orDefault() string {
	if s == nil {
		return ""
	}
	return s.Default
}

func nodeFault(path string, n *yaml.Node, name, found, want string) error {
	return &fault.Error{Kind: fault.Usage, Where: path, Field: fmt.Sprintf("line %d%s", n.Line, name), Found: found, Want: want, Remedy: "correct the file"}
}

// Marshal writes every setting of a run, by group, so that ReadFile makes the same Config
// of it. Settings that were not given are null.
func (c *Config) Marshal() []byte {
	root := &yaml.Node{Kind: yaml.MappingNode}
	group := Group("")
	for _, s := range settings {
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: s.Name}
		if s.Group != group {
			group = s.Group
			key.HeadComment = string(group)
		}
		root.Content = append(root.Content, key, s.node(c))
	}
	text, err := yaml.Marshal(root)
	if err != nil {
		panic(fmt.Sprintf("settings that cannot be written: %v", err)) // plain scalars always can
	}
	return text
}

// node is the setting's value as YAML.
func (s *Setting) node(c *Config) *yaml.Node {
	field := s.field(c)
	switch p := field.(type) {
	case *[]string:
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, v := range *p {
			list.Content = append(list.Content, textNode(v))
		}
		return list
	case *string:
		return textNode(*p)
	}
	text := fieldText(field)
	if text == "" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: text}
}

// textNode is a text, quoted where YAML would read something else.
func textNode(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	return n
}

// MarshalBinary is Marshal, so that a Config can travel between processes.
func (c Config) MarshalBinary() ([]byte, error) { return c.Marshal(), nil }

// UnmarshalBinary reads what MarshalBinary wrote of a resolved Config.
func (c *Config) UnmarshalBinary(text []byte) error {
	*c = Default()
	return Parse(c, "settings", text)
}
