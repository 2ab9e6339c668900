// Command dpmip-init is PID 1 of the firmware image: it prepares the card's
// kernel, keeps dpmip-agent running, feeds the watchdog and carries out updates.
// Called by a person on the card, it asks PID 1 to do things.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/dpmip/dpmip/cross/control"
	"github.com/dpmip/dpmip/cross/machine"
	"github.com/dpmip/dpmip/cross/ringlog"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/strictconf"
)

func main() {
	if os.Getpid() == 1 {
		pid1()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dpmip-init:", err)
		os.Exit(1)
	}
}

const usage = `usage: dpmip-init COMMAND
  status              what runs, and from which slot (JSON)
  update BUNDLE       check a bundle, start it, confirm it or take it back
  restart             end the agent and start it again; forwarding stays
  log                 print what the log's ring holds
  poweroff, reboot    in order: the agent, the partition, the watchdog
  check-config FILE   read an init.toml and say what is wrong with it
  version
`

var errUsage = errors.New("wrong command line, see dpmip-init -h")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("dpmip-init", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage) }
	socket := fs.String("socket", control.Socket, "PID 1's socket")
	ring := fs.String("ring", ringFile, "the log's ring")
	if err := fs.Parse(args); err != nil {
		return errUsage
	}
	verb, rest := fs.Arg(0), fs.Args()
	switch {
	case verb == "version" && len(rest) == 1:
		fmt.Fprintln(stdout, buildinfo.Version())
		return nil
	case verb == "log" && len(rest) == 1:
		b, err := ringlog.Read(*ring)
		if err == nil {
			_, err = stdout.Write(b)
		}
		return err
	case verb == "check-config" && len(rest) == 2:
		if _, err := strictconf.Load[machine.Config](rest[1]); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: good\n", rest[1])
		return nil
	case verb == "update" && len(rest) == 2:
		file, err := filepath.Abs(rest[1])
		if err != nil {
			return err
		}
		return ask(ctx, *socket, control.Request{Verb: verb, File: file}, stdout)
	case (verb == "status" || verb == "restart" || verb == "poweroff" || verb == "reboot") && len(rest) == 1:
		return ask(ctx, *socket, control.Request{Verb: verb}, stdout)
	}
	fs.Usage()
	return errUsage
}

// ask has PID 1 do it, and prints what it says.
func ask(ctx context.Context, socket string, r control.Request, stdout io.Writer) error {
	result, err := control.Call(ctx, socket, r, func(step string) { fmt.Fprintln(stdout, step) })
	if len(result) > 0 {
		fmt.Fprintf(stdout, "%s\n", result)
	}
	return err
}
