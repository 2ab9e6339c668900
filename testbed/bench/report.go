package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is a run of the benchmarks.
type Report struct {
	Taken   time.Time `json:"taken"`
	Version string    `json:"version"`
	Machine Machine   `json:"machine"`
	Quick   bool      `json:"quick"`
	Seconds float64   `json:"seconds"`
	Figures []Figure  `json:"figures"`
}

// Missed lists the figures that do not keep to their limits.
func (r *Report) Missed() []Figure {
	var out []Figure
	for _, f := range r.Figures {
		if !f.Kept() {
			out = append(out, f)
		}
	}
	return out
}

// WriteFile writes the report as indented JSON.
func (r *Report) WriteFile(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// WriteTable writes the figures for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.rows() {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// rows are the table's, the heading first.
func (r *Report) rows() [][]string {
	out := [][]string{{"Figure", "Measured", "Limit", "Kept", "Least .. greatest", "n", "How"}}
	for _, f := range r.Figures {
		limit, kept := "", ""
		if f.Sense != Info {
			sense, _ := f.Sense.MarshalText()
			limit, kept = string(sense)+" "+amount(f.Limit), "yes"
			if !f.Kept() {
				kept = "NO"
			}
		}
		spread, n := "", ""
		if f.N > 1 {
			spread, n = amount(f.Low)+" .. "+amount(f.High), fmt.Sprint(f.N)
		}
		out = append(out, []string{f.Group + ": " + f.Name, amount(f.Value) + " " + f.Unit, limit, kept, spread, n, f.Note})
	}
	return out
}

// Markdown writes the figures as a table of docs/benchmarks.md.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Taken %s with dpmip %s by `make bench`%s, in %.0f s, on %s.\n\n", r.Taken.UTC().Format("2006-01-02 15:04 UTC"), r.Version,
		map[bool]string{true: " (quick)"}[r.Quick], r.Seconds, r.Machine)
	for i, row := range r.rows() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|" + strings.Repeat(" --- |", len(row)) + "\n")
		}
	}
	return b.String()
}

// Marks of the part of a document that WriteDocument replaces.
const (
	markBegin = "<!-- figures: begin; written by make bench -->\n"
	markEnd   = "<!-- figures: end -->\n"
)

// WriteDocument puts the table between the marks of a Markdown file.
func (r *Report) WriteDocument(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	head, rest, ok := strings.Cut(string(b), markBegin)
	_, tail, ok2 := strings.Cut(rest, markEnd)
	if !ok || !ok2 {
		return fmt.Errorf("bench: %s: %w", path, errors.New("no marks of the figures"))
	}
	if err := os.WriteFile(path, []byte(head+markBegin+"\n"+r.Markdown()+"\n"+markEnd+tail), 0o644); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
