package health

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/dpmip/dpmip/cross/supervise"
)

// maxAnswer is the most that is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Client asks the agent behind one socket.
type Client struct{ http http.Client }

// New makes a Client. Every question uses a connection of its own: a trial
// replaces the process behind the socket.
func New(socket string) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// do asks and gives the answer's status and body.
func (c *Client) do(ctx context.Context, method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", fmt.Errorf("health: %w", err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("health: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, "", fmt.Errorf("health: %w", err)
	}
	return resp.StatusCode, string(bytes.TrimSpace(b)), nil
}

// Probe is the supervisor's question: GET /healthz.
func (c *Client) Probe(ctx context.Context) (supervise.Health, string) {
	code, text, err := c.do(ctx, http.MethodGet, "/healthz", "")
	switch {
	case err != nil:
		return supervise.Dead, err.Error()
	case code != http.StatusOK:
		return supervise.Sick, text
	}
	return supervise.Well, text
}

// Check is one thing that the agent's doctor has looked at.
type Check struct {
	Name   string `json:"name"`
	State  string `json:"state"` // ok, warning, failed, unknown
	Found  string `json:"found"`
	Advice string `json:"advice"`
}

// Doctor gives the checks of dpmip.v1.AgentService.Doctor, by name.
func (c *Client) Doctor(ctx context.Context) (map[string]Check, error) {
	code, text, err := c.do(ctx, http.MethodPost, "/dpmip.v1.AgentService/Doctor", "{}")
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, fmt.Errorf("health: doctor: status %d: %s", code, text)
	}
	var answer struct {
		Checks []Check `json:"checks"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, fmt.Errorf("health: doctor: %w", err)
	}
	out := make(map[string]Check, len(answer.Checks))
	for _, k := range answer.Checks {
		out[k.Name] = k
	}
	return out, nil
}
