package transport

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/spexio/spex/transport/httpapi"
)

// inProcessBuffer is how much is under way between HTTP and gRPC.
const inProcessBuffer = 1 << 20

// httpFront is the HTTP side of a server: a listener, and a connection to the
// server's own gRPC that stays within the process.
type httpFront struct {
	listener net.Listener
	inner    *bufconn.Listener
	conn     *grpc.ClientConn
	server   *httpapi.Server // nil until it serves
}

// listenHTTP takes the address. The caller serves front.inner with the gRPC server.
func listenHTTP(address string) (*httpFront, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP (--http-listen %s): %w", address, err)
	}
	return &httpFront{listener: l, inner: bufconn.Listen(inProcessBuffer)}, nil
}

// serve begins to answer. It returns at once.
func (f *httpFront) serve(s *Server) (err error) {
	f.conn, err = grpc.NewClient("passthrough:///in-process",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.inner.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxResponseBytes)))
	if err != nil {
		return fmt.Errorf("connect HTTP to gRPC: %w", err)
	}
	api, err := httpapi.New(httpapi.Config{Conn: f.conn, Complete: StatusFromError, Logger: s.log})
	if err != nil {
		return err
	}
	f.server = httpapi.Start(api, f.listener)
	return nil
}

// close lets requests finish until ctx ends, and cuts off the others. The gRPC
// server must still run.
func (f *httpFront) close(ctx context.Context) {
	if f.server != nil {
		f.server.Close(ctx)
	} else {
		_ = f.listener.Close()
	}
	if f.conn != nil {
		_ = f.conn.Close()
	}
	if f.server != nil {
		f.server.Wait()
	}
	_ = f.inner.Close()
}
