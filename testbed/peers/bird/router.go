package bird

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/netns"
)

// StartTimeout is how long BIRD may take to answer.
const StartTimeout = 20 * time.Second

// ErrNotInstalled says that Debian's package bird2 is missing.
var ErrNotInstalled = errors.New("bird: no /usr/sbin/bird (install Debian's bird2)")

const program = "/usr/sbin/bird"

// Router is one BIRD, running or stopped. It is not safe for concurrent use.
type Router struct {
	ns   *netns.NS
	dir  string
	proc *netns.Process
}

// New writes the configuration into dir, in the Set's directory. Start starts it.
func New(ns *netns.NS, dir, config string) (*Router, error) {
	if _, err := os.Stat(program); err != nil {
		return nil, ErrNotInstalled
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("bird: %w", err)
	}
	r := &Router{ns: ns, dir: dir}
	return r, r.write(config)
}

func (r *Router) write(config string) error {
	if err := os.WriteFile(filepath.Join(r.dir, "bird.conf"), []byte(config), 0o600); err != nil {
		return fmt.Errorf("bird: %w", err)
	}
	return nil
}

func (r *Router) socket() string { return filepath.Join(r.dir, "bird.ctl") }

// Start runs BIRD and returns when it answers.
func (r *Router) Start() error {
	log, err := os.OpenFile(filepath.Join(r.dir, "bird.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("bird: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(program, "-f", "-c", filepath.Join(r.dir, "bird.conf"), "-s", r.socket())
	cmd.Stdout, cmd.Stderr = log, log
	if r.proc, err = r.ns.Start(cmd); err != nil {
		return err
	}
	for end := clock.Now() + StartTimeout; ; clock.SleepUntil(clock.Now() + 5*time.Millisecond) {
		_, err := r.Show("show status")
		if err == nil {
			return nil
		}
		select {
		case <-r.proc.Done():
			return fmt.Errorf("bird: ended:\n%s", r.Log())
		default:
		}
		if clock.Now() > end {
			return fmt.Errorf("bird: does not answer: %w\n%s", err, r.Log())
		}
	}
}

// Configure puts another configuration in force.
func (r *Router) Configure(config string) error {
	if err := r.write(config); err != nil {
		return err
	}
	out, err := r.Show("configure")
	if err == nil && !strings.Contains(out, "Reconfigur") {
		return fmt.Errorf("bird: %s", out)
	}
	return err
}

// Stop ends BIRD in order; Start may follow.
func (r *Router) Stop() error { return r.proc.Stop() }

// Kill is BIRD's crash; Start may follow.
func (r *Router) Kill() error { return r.proc.Kill() }

// Show runs one command of birdc, whose socket is a file and needs no namespace.
func (r *Router) Show(command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), StartTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "birdc", append([]string{"-s", r.socket()}, strings.Fields(command)...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("birdc %s: %w\n%s", command, err, out)
	}
	return string(out), nil
}

// Route is what BIRD prints of its route for a prefix, with all attributes;
// empty: it has none.
func (r *Router) Route(p netip.Prefix) (string, error) {
	out, err := r.Show("show route all " + p.String())
	if err != nil && strings.Contains(err.Error(), "Network not found") {
		return "", nil
	}
	if strings.Contains(out, "Network not found") {
		return "", nil
	}
	return out, err
}

// Log is what BIRD has said.
func (r *Router) Log() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "bird.log"))
	return string(b)
}
