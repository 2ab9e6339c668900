package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/scenario"
)

// upMark begins the line by which the background process says that it is up.
const upMark = "up: "

func up() *cobra.Command {
	foreground := false
	c := &cobra.Command{
		Use: "up", Short: "bring up a data centre with its VMs and leave it running", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			labs, err := netns.Find("", scenario.StandingPrefix)
			if err != nil {
				return err
			}
			if len(labs) > 0 {
				return fmt.Errorf("%s is up already: see dpmip-lab down", labs[0].Dir)
			}
			if !foreground {
				return background(c.Context(), out)
			}
			return scenario.Stand(c.Context(), scenario.Settings{Bin: ownDir(), Seed: 1}, func(dir string) error {
				_, err := fmt.Fprintf(out, "%s%s\n", upMark, dir)
				return err
			})
		},
	}
	c.Flags().BoolVar(&foreground, "foreground", false, "stay until interrupted")
	return c
}

// background starts this program once more, on its own, and waits until the
// data centre is up.
func background(ctx context.Context, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "up", "--foreground")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	var said []string
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if dir, ok := strings.CutPrefix(lines.Text(), upMark); ok {
			return describe(out, dir)
		}
		said = append(said, lines.Text())
	}
	return fmt.Errorf("not up: %v: %s", cmd.Wait(), strings.Join(said, "\n"))
}

// describe says what one can do with a data centre.
func describe(out io.Writer, dir string) error {
	nodes, err := os.ReadDir(filepath.Join(dir, "ns"))
	if err != nil {
		return err
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name())
	}
	_, err = fmt.Fprintf(out, "up in %s, with %s\n  dpmip-lab shell NODE [COMMAND...]   a shell there; dpmipctl finds the node's daemon and the management node\n  dpmip-lab down                      takes it down\n",
		dir, strings.Join(names, " "))
	return err
}

func down() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "take down what up has brought up, and sweep what killed runs have left", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			labs, err := netns.Find("", scenario.StandingPrefix)
			if err != nil {
				return err
			}
			for _, l := range labs {
				if err := end(c.Context(), l); err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout(), "down:", l.Dir)
			}
			swept, err := netns.Sweep("", "")
			for _, dir := range swept {
				fmt.Fprintln(c.OutOrStdout(), "swept:", dir)
			}
			return err
		},
	}
}

// end ends the owner of a data centre and waits until it has gone.
func end(ctx context.Context, l netns.Live) error {
	if err := syscall.Kill(l.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("process %d of %s: %w", l.PID, l.Dir, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(l.Dir); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func shell() *cobra.Command {
	c := &cobra.Command{
		Use: "shell NODE [COMMAND...]", Short: "a shell, or a command, at a node of what up has brought up", Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			labs, err := netns.Find("", scenario.StandingPrefix)
			if err != nil {
				return err
			}
			if len(labs) != 1 {
				return fmt.Errorf("%d data centres are up, want 1: see dpmip-lab up", len(labs))
			}
			command := args[1:]
			if len(command) == 0 {
				command = []string{"sh"}
				if s := os.Getenv("SHELL"); s != "" {
					command[0] = s
				}
			}
			env := environment(labs[0].Dir, args[0])
			program, err := exec.LookPath(command[0])
			if err != nil {
				program, err = exec.LookPath(filepath.Join(ownDir(), command[0])) // dpmipctl beside us
			}
			if err != nil {
				return err
			}
			return labs[0].Exec(args[0], program, command[1:], env)
		},
	}
	c.Flags().SetInterspersed(false) // what follows NODE is the command's
	return c
}

// environment is the present one, with dpmipctl told where to ask.
func environment(dir, node string) []string {
	env := append(os.Environ(), "PATH="+ownDir()+":"+os.Getenv("PATH"), "PS1="+node+"# ",
		"DPMIP_MGMT="+filepath.Join(dir, "mgmt", "mgmt.sock"))
	for _, s := range []struct{ name, file string }{{"DPMIP_AGENT", "agent.sock"}, {"DPMIP_ROUTER", "router.sock"}} {
		if path := filepath.Join(dir, node, s.file); exists(path) {
			env = append(env, s.name+"="+path)
		}
	}
	return env
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
