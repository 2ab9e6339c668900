package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/mgmtclient"
)

// Exit codes, documented in docs/operations.md.
const (
	exitOK          = 0
	exitFailed      = 1 // anything not named below
	exitUsage       = 2 // the command line is wrong
	exitRefused     = 3 // the daemon understood and said no
	exitUnreachable = 4 // no daemon answered
	exitUnhealthy   = 5 // doctor found something failed
	exitNotYet      = 6 // --wait ran out before the outcome
)

// env holds every outside thing a command touches.
type env struct {
	stdout, stderr io.Writer
	getenv         func(string) string

	mgmt, agent, router string // targets
	tls                 mgmtclient.TLSFiles
	json                bool
}

// errUnhealthy ends doctor with its own exit code; the table has been printed.
var errUnhealthy = errors.New("doctor: something has failed, see above")

// errNotYet: the daemon goes on, but not within --wait.
var errNotYet = errors.New("not within --wait")

// errUsage marks mistakes of the command line.
type errUsage struct{ error }

func usagef(format string, args ...any) error { return errUsage{fmt.Errorf(format, args...)} }

func (e *env) run(ctx context.Context, args []string) int {
	root := e.root()
	root.SetArgs(args)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(e.stderr, "dpmipctl: "+explain(err))
	return exitCode(err)
}

// explain says what went wrong and, where that is known, what to do next.
func explain(err error) string {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return err.Error()
	}
	switch ce.Code() {
	case connect.CodeUnavailable:
		return fmt.Sprintf("no answer: %s (is the daemon running, and is this its socket? see --mgmt, --agent, --router)", ce.Message())
	case connect.CodePermissionDenied:
		return ce.Message() + " (the policy of the management node's inventory forbids it)"
	}
	return ce.Message()
}

func exitCode(err error) int {
	var ce *connect.Error
	var usage errUsage
	switch {
	case errors.Is(err, errUnhealthy):
		return exitUnhealthy
	case errors.Is(err, errNotYet):
		return exitNotYet
	case errors.As(err, &usage), errors.Is(err, mgmtclient.ErrTarget):
		return exitUsage
	case errors.As(err, &ce) && ce.Code() == connect.CodeUnavailable:
		return exitUnreachable
	case errors.As(err, &ce):
		return exitRefused
	}
	return exitFailed
}

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "dpmipctl",
		Short:         "read and change a dpmip network",
		Long:          "dpmipctl reads and changes a dpmip network: bindings, moves and receipts at the management node,\nVMs and rules at an agent, routes at a router. Nouns read, verbs change.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       buildinfo.Version(),
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errUsage{err} })
	f := root.PersistentFlags()
	f.StringVar(&e.mgmt, "mgmt", e.fallback("DPMIP_MGMT", "/run/dpmip/mgmt.sock"), "management node: socket path or https URL (env DPMIP_MGMT)")
	f.StringVar(&e.agent, "agent", e.fallback("DPMIP_AGENT", "/run/dpmip/agent.sock"), "agent: socket path (env DPMIP_AGENT)")
	f.StringVar(&e.router, "router", e.fallback("DPMIP_ROUTER", "/run/dpmip/router.sock"), "router: socket path (env DPMIP_ROUTER)")
	f.StringVar(&e.tls.CA, "tls-ca", e.getenv("DPMIP_TLS_CA"), "CA certificate for an https URL (env DPMIP_TLS_CA)")
	f.StringVar(&e.tls.Cert, "tls-cert", e.getenv("DPMIP_TLS_CERT"), "client certificate (env DPMIP_TLS_CERT)")
	f.StringVar(&e.tls.Key, "tls-key", e.getenv("DPMIP_TLS_KEY"), "client key (env DPMIP_TLS_KEY)")
	f.BoolVar(&e.json, "json", false, "print JSON for programs instead of tables")
	root.AddCommand(e.bindings(), e.binding(), e.hypervisors(), e.hypervisor(), e.routers(), e.hostRoutes(), e.moves(), e.move(),
		e.names(), e.receipts(), e.receipt(), e.vm(), e.rules("redirects", "redirect"), e.rules("rules", ""), e.drops(), e.routes(), e.route(), e.use(), e.sessions(), e.exchanged(), e.doctor(), e.reload())
	return root
}

func (e *env) fallback(name, value string) string {
	if v := e.getenv(name); v != "" {
		return v
	}
	return value
}

// command builds a command with exact arguments.
func command(use, short string, nargs int, run func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != nargs {
				return usagef("%s: got %d arguments, want %d", use, len(args), nargs)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return run(c.Context(), args) },
	}
}

func (e *env) management() (*mgmtclient.Client, error) {
	return mgmtclient.Open(mgmtclient.Target{Address: e.mgmt, TLS: e.tls})
}

func (e *env) agentClient() (dpmipv1connect.AgentServiceClient, error) {
	return mgmtclient.OpenAgent(mgmtclient.Target{Address: e.agent})
}

func (e *env) routerClient() (dpmipv1connect.RouterServiceClient, error) {
	return mgmtclient.OpenRouter(mgmtclient.Target{Address: e.router})
}

// waitFlag adds --wait, how long the daemon may take to reach the end.
func waitFlag(c *cobra.Command, d *time.Duration, value time.Duration) *cobra.Command {
	c.Flags().DurationVar(d, "wait", value, "how long to wait for the outcome; 0 answers at once")
	return c
}
