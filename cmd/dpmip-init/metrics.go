package main

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// metrics answers /metrics at addr until ctx ends: what PID 1 has counted, and
// what runs. The agent's own metrics are the agent's.
func (s *system) metrics(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_ = s.card.WriteMetrics(w) // the caller may have gone
		})
		srv := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		defer stop()
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}
