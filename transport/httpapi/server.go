package httpapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"
)

// Server serves an API on a listener. Start it with Start.
type Server struct {
	api    *API
	http   *http.Server
	served chan struct{} // closed when Serve has returned
}

// Start serves a on listener, which it owns from now on, until Close.
func Start(a *API, listener net.Listener) *Server {
	s := &Server{api: a, served: make(chan struct{})}
	s.http = &http.Server{
		Handler:           a,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeader,
		// What net/http complains about is what peers did.
		ErrorLog: slog.NewLogLogger(a.cfg.Logger.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener)
	}()
	return s
}

// Close takes no new requests, waits for those under way until ctx is done, and
// cuts off the rest. Streams end when the node drains, before this is called. The
// connection to the gRPC server must be closed before Wait can return.
func (s *Server) Close(ctx context.Context) {
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	<-s.served
}

// Wait returns when no handler is left.
func (s *Server) Wait() { s.api.handlers.Wait() }
