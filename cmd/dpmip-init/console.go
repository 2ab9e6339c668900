package main

import (
	"bytes"
	"io"
	"os"

	"github.com/dpmip/dpmip/cross/reap"
)

// consoleQueue is how many writes wait for a slow console.
const consoleQueue = 256

// console writes behind a queue and drops what does not fit: a serial line that
// nobody reads must not stop PID 1.
type console struct{ lines chan []byte }

func newConsole(w io.Writer) console {
	c := console{make(chan []byte, consoleQueue)}
	go func() { // runs as long as the machine
		for b := range c.lines {
			_, _ = w.Write(b) // nowhere is left to complain to
		}
	}()
	return c
}

func (c console) Write(b []byte) (int, error) {
	select {
	case c.lines <- bytes.Clone(b):
	default:
	}
	return len(b), nil
}

// reapSpec is a program that prints to the console itself.
func reapSpec(path string) reap.Spec {
	return reap.Spec{Path: path, Env: []string{"PATH=/usr/bin:/bin", "HOME=/"}, Dir: "/", Output: os.Stdout}
}
