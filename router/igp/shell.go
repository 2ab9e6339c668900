package igp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrNoFRR is wrapped where FRR's shell cannot be run or finds no daemon.
var ErrNoFRR = errors.New("igp: FRR does not answer")

// Shell asks FRR; Show returns what the command prints. That one daemon does not
// run is such a text ("ospf6d is not running"), no error.
type Shell interface {
	Show(ctx context.Context, command string) ([]byte, error)
}

// VTYSH is FRR's own shell as a Shell. It needs root, or the group frrvty.
type VTYSH struct {
	Path   string // empty: "vtysh" in the path
	Socket string // folder of the daemons' sockets; empty: FRR's own
}

// Show runs one command.
func (v VTYSH) Show(ctx context.Context, command string) ([]byte, error) {
	path, args := v.Path, []string{}
	if path == "" {
		path = "vtysh"
	}
	if v.Socket != "" {
		args = append(args, "--vty_socket", v.Socket)
	}
	cmd := exec.CommandContext(ctx, path, append(args, "-c", command)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && strings.Contains(stderr.String(), "is not running") {
		return stderr.Bytes(), nil // one daemon, not FRR
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v %s", ErrNoFRR, command, err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// ask runs a command that prints JSON, and reads it. A daemon that does not run
// prints nothing of use: v stays as it is then, and ok is false.
func ask(ctx context.Context, s Shell, command string, v any) (ok bool, err error) {
	out, err := s.Show(ctx, command)
	if err != nil {
		return false, err
	}
	out = bytes.TrimSpace(out)
	if len(out) == 0 || out[0] != '{' {
		return false, nil // "ospf6d is not running", "% OSPF instance not found"
	}
	if err := json.Unmarshal(out, v); err != nil {
		return false, fmt.Errorf("igp: %s: %w", command, err)
	}
	return true, nil
}
