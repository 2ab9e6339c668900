// Command dpmipctl reads and changes a dpmip network: bindings, moves and
// receipts at the management node, VMs and rules at an agent, routes at a
// router. Nouns read, verbs change.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	e := &env{stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	code := e.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
