package main

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
)

// exposing lets a handler reach the connection that its call came on.
type exposing struct {
	credentials.TransportCredentials
}

type exposedConn struct {
	credentials.CommonAuthInfo
	conn net.Conn
}

func (exposedConn) AuthType() string { return "exposed" }

func (e exposing) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := e.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		say("handshake failed: %v", err)
		return nil, nil, err
	}
	common := credentials.CommonAuthInfo{}
	if known, ok := info.(interface {
		GetCommonAuthInfo() credentials.CommonAuthInfo
	}); ok {
		common = known.GetCommonAuthInfo()
	}
	return conn, exposedConn{CommonAuthInfo: common, conn: raw}, nil
}

func (e exposing) Clone() credentials.TransportCredentials {
	return exposing{e.TransportCredentials.Clone()}
}

// cut ends the connection that a call came on, without a word.
func cut(ctx context.Context) error {
	caller, ok := peer.FromContext(ctx)
	if !ok {
		return errors.New("a call from nobody")
	}
	info, ok := caller.AuthInfo.(exposedConn)
	if !ok {
		return errors.New("a connection that is not exposed")
	}
	return info.conn.Close()
}

// watcher says when connections come and go.
type watcher struct{}

func (watcher) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (watcher) HandleRPC(context.Context, stats.RPCStats)                         {}
func (watcher) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (watcher) HandleConn(_ context.Context, event stats.ConnStats) {
	switch event.(type) {
	case *stats.ConnBegin:
		say("connection begins")
	case *stats.ConnEnd:
		say("connection ends")
	}
}
