package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Server is one listener with its handler, as a task.
type Server struct {
	name    string
	listen  func() (net.Listener, error)
	handler http.Handler
	ready   chan struct{}
}

// Socket serves h on a unix socket that only root (or the daemon's user) may
// use. A socket left behind by a killed process is replaced, one that a living
// process listens on is not.
func Socket(path string, h http.Handler) *Server {
	return &Server{name: "admin socket " + path, handler: h, ready: make(chan struct{}), listen: func() (net.Listener, error) { return listenUnix(path) }}
}

// TCP serves h at addr; with a nil config without TLS, which is meant for
// metrics and health only.
func TCP(addr string, conf *tls.Config, h http.Handler) *Server {
	return &Server{name: "admin tcp " + addr, handler: h, ready: make(chan struct{}), listen: func() (net.Listener, error) {
		l, err := net.Listen("tcp", addr)
		if err != nil || conf == nil {
			return l, err
		}
		conf = conf.Clone()
		conf.NextProtos = []string{"h2", "http/1.1"}
		return tls.NewListener(l, conf), nil
	}}
}

func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("another process serves %s", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

func (s *Server) String() string { return s.name }

// Ready is closed when the listener accepts.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// grace is how long a stopping server waits for calls that are under way.
const grace = 2 * time.Second

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	l, err := s.listen()
	if err != nil {
		return err
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 16, Protocols: &p,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	close(s.ready)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		srv.Close()
	}
	<-done
	return nil
}
