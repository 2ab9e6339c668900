package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// print writes m as JSON, or as a table with a header and the rows.
func (e *env) print(m proto.Message, header string, rows [][]any) error {
	if e.json {
		return e.printJSON(m)
	}
	w := tabwriter.NewWriter(e.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	for _, r := range rows {
		for i, c := range r {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell(c))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func (e *env) printJSON(m proto.Message) error {
	b, err := protojson.MarshalOptions{Multiline: true, UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.stdout, string(b))
	return err
}

// fields writes one thing, a line per field.
func (e *env) fields(m proto.Message, rows [][2]any) error {
	if e.json {
		return e.printJSON(m)
	}
	w := tabwriter.NewWriter(e.stdout, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "%v:\t%s\n", r[0], cell(r[1]))
	}
	return w.Flush()
}

// cell prints what is empty as "-".
func cell(v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case []string:
		if len(v) == 0 {
			return "-"
		}
		return strings.Join(v, ",")
	case string:
		if v == "" {
			return "-"
		}
		return v
	}
	return fmt.Sprint(v)
}

// at prints an instant in Unix nanoseconds.
func at(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z")
}

// span prints a duration in nanoseconds.
func span(ns int64) string { return time.Duration(ns).Round(time.Microsecond).String() }
