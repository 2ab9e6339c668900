package strictconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"
)

// defaulter and validator are the optional hooks of a configuration struct.
type (
	defaulter interface{ SetDefaults() }
	validator interface{ Validate(*Source) error }
)

// Load reads the file at path into a T. Errors carry "path:line: key: ".
func Load[T any](path string) (T, error) {
	var v T
	_, err := LoadInto(path, &v)
	return v, err
}

// LoadInto reads the file at path into *v, which may hold defaults already, and
// returns where each key stands, for checks that span keys or files.
func LoadInto[T any](path string, v *T) (*Source, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return Parse(path, data, v)
}

// Parse is LoadInto for bytes; name stands for the file in errors, and relative
// paths inside are taken from its folder.
func Parse[T any](name string, data []byte, v *T) (*Source, error) {
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			return nil, &Error{File: name, Line: pe.Position.Line, Key: pe.LastKey, Message: pe.Message}
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	src := &Source{File: name, lines: scanLines(string(data))}
	if d, ok := any(v).(defaulter); ok {
		d.SetDefaults()
	}
	d := decoder{src: src, dir: filepath.Dir(name)}
	if err := d.struct_("", tree, v); err != nil {
		return src, err
	}
	if c, ok := any(v).(validator); ok {
		return src, c.Validate(src)
	}
	return src, nil
}

// Error is a refusal with its place.
type Error struct {
	File    string
	Line    int // 0 = unknown
	Key     string
	Message string
}

func (e *Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, e.Line)
	}
	if e.Key != "" {
		s += ": " + e.Key
	}
	return s + ": " + e.Message
}
