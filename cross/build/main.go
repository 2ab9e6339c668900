package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// options are the flags; every command uses some of them.
type options struct {
	out     string
	release string
	key     string // file of the signing key
	version uint64 // of the bundle
	fuse    uint64
	kernel  string // folder with modules/ and release
	list    string // file with the names of modules
	epoch   int64  // SOURCE_DATE_EPOCH
}

// commands by name.
var commands = map[string]func(context.Context, *options) error{
	"firmware": firmware,
	"modules":  kernelModules,
	"keygen":   keygen,
	"packages": packages,
	"release":  release,
}

func names() string {
	var all []string
	for name := range commands {
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want one of " + names())
	}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("%q is not one of %s", args[0], names())
	}
	var o options
	fs := flag.NewFlagSet("build "+args[0], flag.ContinueOnError)
	fs.StringVar(&o.out, "out", "out", "folder for what is made")
	fs.StringVar(&o.release, "release", "", "version for people; default: git describe")
	fs.StringVar(&o.key, "key", "", "signing key; default: a development key in OUT/keys")
	fs.Uint64Var(&o.version, "version", 0, "version of the bundle, only ever growing; default: the commit's time")
	fs.Uint64Var(&o.fuse, "fuse", 0, "what cards raise their fuse to, once the bundle has proved itself")
	fs.StringVar(&o.kernel, "kernel", "out/kernel", "folder with a kernel's modules")
	fs.StringVar(&o.list, "list", "cross/image/modules.txt", "names of the modules that a card needs")
	fs.Int64Var(&o.epoch, "epoch", 0, "time of all files, seconds since 1970; default: the commit's time")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if err := o.complete(ctx); err != nil {
		return err
	}
	return command(ctx, &o)
}
