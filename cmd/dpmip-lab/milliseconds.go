package main

import (
	"fmt"
	"strconv"
	"time"
)

// milliseconds is a flag of whole milliseconds.
type milliseconds struct{ d *time.Duration }

func (m *milliseconds) String() string {
	if m.d == nil {
		return "0"
	}
	return strconv.FormatInt(m.d.Milliseconds(), 10)
}

// Set takes a number of milliseconds.
func (m *milliseconds) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return fmt.Errorf("want a number of milliseconds: %w", err)
	}
	*m.d = time.Duration(n) * time.Millisecond
	return nil
}

// Type names the unit in help texts.
func (m *milliseconds) Type() string { return "ms" }
