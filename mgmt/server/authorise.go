package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
)

// callerKey is where a request's context has the name that the caller's
// certificate proves.
type callerKey struct{}

// Authorise lets callers over mutual TLS do what their certificate's common
// name allows: the operators everything, anybody else, with its hypervisor's or
// router's name, only reports about itself. With no operators named there are none over
// TCP.
func Authorise(operators []string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "a client certificate is needed", http.StatusUnauthorized)
			return
		}
		name := r.TLS.VerifiedChains[0][0].Subject.CommonName
		if slices.Contains(operators, name) {
			h.ServeHTTP(w, r)
			return
		}
		if !strings.HasPrefix(r.URL.Path, "/"+dpmipv1connect.ReportServiceName+"/") {
			http.Error(w, name+" may only report", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, name)))
	})
}

// mayReport refuses a report about another hypervisor or router than the caller's own.
func mayReport(ctx context.Context, self string) error {
	if name, limited := ctx.Value(callerKey{}).(string); limited && name != self {
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s may report for itself only, not for %q", name, self))
	}
	return nil
}
