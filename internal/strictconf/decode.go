package strictconf

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// resolver is a text type that needs the folder of the configuration file.
type resolver interface{ resolve(dir string) error }

type decoder struct {
	src *Source
	dir string
}

func (d decoder) struct_(path string, table map[string]any, v any) error {
	return d.fields(path, table, reflect.ValueOf(v).Elem())
}

// fields fills a struct from a table: every key must have a field.
func (d decoder) fields(path string, table map[string]any, v reflect.Value) error {
	known := map[string]bool{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		name, opts, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if name == "" || name == "-" {
			continue
		}
		known[name] = true
		raw, ok := table[name]
		if !ok {
			if opts == "required" {
				return d.src.Errorf(join(path, name), "missing")
			}
			continue
		}
		if err := d.value(join(path, name), raw, v.FieldByIndex(f.Index)); err != nil {
			return err
		}
	}
	for _, key := range sorted(table) {
		if !known[key] {
			return d.src.Errorf(join(path, key), "unknown key (known here: %s)", strings.Join(sorted(known), ", "))
		}
	}
	return nil
}

func (d decoder) value(path string, raw any, v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return d.text(path, raw, t)
	}
	switch v.Kind() {
	case reflect.Struct:
		table, ok := raw.(map[string]any)
		if !ok {
			return d.mismatch(path, raw, "a table")
		}
		return d.fields(path, table, v)
	case reflect.Map:
		return d.tables(path, raw, v)
	case reflect.Slice:
		return d.list(path, raw, v)
	}
	return d.scalar(path, raw, v)
}

func (d decoder) scalar(path string, raw any, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if s, ok := raw.(string); ok {
			v.SetString(s)
			return nil
		}
		return d.mismatch(path, raw, "a string")
	case reflect.Bool:
		if b, ok := raw.(bool); ok {
			v.SetBool(b)
			return nil
		}
		return d.mismatch(path, raw, "true or false")
	case reflect.Float64:
		if f, ok := raw.(float64); ok {
			v.SetFloat(f)
			return nil
		}
		return d.mismatch(path, raw, "a number with a point")
	}
	n, ok := raw.(int64)
	switch {
	case !ok:
		return d.mismatch(path, raw, "an integer")
	case v.CanInt() && !v.OverflowInt(n):
		v.SetInt(n)
	case v.CanUint() && n >= 0 && !v.OverflowUint(uint64(n)):
		v.SetUint(uint64(n))
	default:
		return d.src.Errorf(path, "%d is out of range", n)
	}
	return nil
}

func (d decoder) text(path string, raw any, t encoding.TextUnmarshaler) error {
	s, ok := raw.(string)
	if !ok {
		return d.mismatch(path, raw, "a string")
	}
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return d.src.Errorf(path, "%v", err)
	}
	if r, ok := t.(resolver); ok {
		if err := r.resolve(d.dir); err != nil {
			return d.src.Errorf(path, "%v", err)
		}
	}
	return nil
}

func (d decoder) list(path string, raw any, v reflect.Value) error {
	items := reflect.ValueOf(raw)
	if raw == nil || items.Kind() != reflect.Slice {
		return d.mismatch(path, raw, "a list")
	}
	out := reflect.MakeSlice(v.Type(), items.Len(), items.Len())
	for i := range items.Len() {
		if err := d.value(fmt.Sprintf("%s[%d]", path, i), items.Index(i).Interface(), out.Index(i)); err != nil {
			return err
		}
	}
	v.Set(out)
	return nil
}

func (d decoder) tables(path string, raw any, v reflect.Value) error {
	table, ok := raw.(map[string]any)
	if !ok {
		return d.mismatch(path, raw, "a table")
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, key := range sorted(table) {
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(join(path, key), table[key], elem); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), elem)
	}
	return nil
}

func (d decoder) mismatch(path string, raw any, want string) error {
	return d.src.Errorf(path, "is %s, want %s", tomlType(raw), want)
}

func tomlType(raw any) string {
	switch raw.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number with a point"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []map[string]any, []any:
		return "a list"
	}
	return fmt.Sprintf("%T", raw)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
