package bench

import (
	"encoding/json"
	"fmt"
	"math"
)

// Sense says which side of a limit is good.
type Sense uint8

// Senses. The zero Sense has no limit: the figure is for information.
const (
	Info Sense = iota
	AtMost
	AtLeast
)

// MarshalText writes at most, at least, or nothing.
func (s Sense) MarshalText() ([]byte, error) {
	return []byte([...]string{"", "at most", "at least"}[s]), nil
}

// Figure is one measured number. N, Low and High tell what it is the median
// (or another quantile) of: how many samples, the least and the greatest.
type Figure struct {
	Group string  `json:"group"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // "x" is a ratio
	Sense Sense   `json:"sense"`
	Limit float64 `json:"limit"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	N     int     `json:"n"`
	Note  string  `json:"note,omitempty"`
}

// Kept says whether the figure keeps to its limit.
func (f Figure) Kept() bool {
	switch f.Sense {
	case AtMost:
		return f.Value <= f.Limit
	case AtLeast:
		return f.Value >= f.Limit
	}
	return true
}

// MarshalJSON adds the verdict.
func (f Figure) MarshalJSON() ([]byte, error) {
	type plain Figure
	return json.Marshal(struct {
		plain
		Kept bool `json:"kept"`
	}{plain(f), f.Kept()})
}

// atMost and atLeast give a figure its limit.
func (f Figure) atMost(limit float64) Figure {
	f.Sense, f.Limit = AtMost, limit
	return f
}

func (f Figure) atLeast(limit float64) Figure {
	f.Sense, f.Limit = AtLeast, limit
	return f
}

func (f Figure) note(format string, args ...any) Figure {
	f.Note = fmt.Sprintf(format, args...)
	return f
}

// value is a figure that was not sampled.
func value(name, unit string, v float64) Figure {
	return Figure{Name: name, Unit: unit, Value: v, Low: v, High: v, N: 1}
}

// amount writes a number for people: three significant digits, thousands
// grouped by a thin space.
func amount(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v) && a < 1e15 || a >= 1000:
		return grouped(int64(math.Round(v)))
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func grouped(n int64) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s %03d", grouped(n/1000), n%1000)
}
