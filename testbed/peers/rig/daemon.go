package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/netns"
)

// routerConfig is dpmip-router's configuration but for its roles.
const routerConfig = `state_dir = "%[1]s/state"
admin_socket = "%[1]s/router.sock"
locators = ["%[2]s", "10.2.0.1"]
log_level = "debug"
%[5]s
[[management]]
locator = "%[3]s"
keys = [{ send = 4101, receive = 4102, key = "hex:%[4]x" }]

[timers]
first_retry = "20ms"
retry = "20ms"
heartbeat = "200ms"
misses = 3
`

// Daemon is a dpmip-router at the ToR.
type Daemon struct {
	dpmipv1connect.RouterServiceClient
	world *World
	bin   string
	dir   string
	proc  *netns.Process
}

// Config writes the daemon's configuration: top are lines of the top level,
// roles the tables below it. It returns the file's path.
func (w *World) Config(top, roles string) (string, error) {
	dir, err := w.Dir("tor")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "router.toml")
	text := fmt.Sprintf(routerConfig, dir, TORLocator, MgmtLocator, secret, top) + roles
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("rig: %w", err)
	}
	return path, nil
}

// StartRouter runs the program bin at the ToR.
func (w *World) StartRouter(bin, top, roles string) (*Daemon, error) {
	if _, err := w.Config(top, roles); err != nil {
		return nil, err
	}
	dir, err := w.Dir("tor")
	if err != nil {
		return nil, err
	}
	d := &Daemon{world: w, bin: bin, dir: dir}
	d.RouterServiceClient, err = mgmtclient.OpenRouter(mgmtclient.Target{Address: d.Socket()})
	if err != nil {
		return nil, err
	}
	return d, d.Start()
}

// Socket is the daemon's admin socket.
func (d *Daemon) Socket() string { return filepath.Join(d.dir, "router.sock") }

// Start starts the program, and returns when it serves.
func (d *Daemon) Start() error {
	log, err := os.OpenFile(filepath.Join(d.dir, "router.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(d.bin, "-config", filepath.Join(d.dir, "router.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	if d.proc, err = d.world.TOR.Start(cmd); err != nil {
		return err
	}
	for end := clock.Now() + 20*time.Second; ; clock.SleepUntil(clock.Now() + 5*time.Millisecond) {
		_, err := d.GetUse(context.Background(), connect.NewRequest(&v1.GetUseRequest{}))
		if err == nil {
			return nil
		}
		select {
		case <-d.proc.Done():
			return fmt.Errorf("rig: dpmip-router ended:\n%s", d.Log())
		default:
		}
		if clock.Now() > end {
			return fmt.Errorf("rig: dpmip-router does not serve: %w\n%s", err, d.Log())
		}
	}
}

// Kill is its crash; Start may follow.
func (d *Daemon) Kill() error { return d.proc.Kill() }

// Stop ends it in order; Start may follow.
func (d *Daemon) Stop() error { return d.proc.Stop() }

// Log is what it has said.
func (d *Daemon) Log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "router.log"))
	return strings.TrimSpace(string(b))
}
