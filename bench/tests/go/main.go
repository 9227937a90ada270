// Command grpc-double stands in for a proxy server in GRPC mode: it speaks
// /ProxyService/Proxy with grpc-go and konnectivity-client's own types, dials
// targets itself as an agent would, and misbehaves where a target's name asks
// for it. It writes what it sees to standard output, a line for each event.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	uds := flag.String("uds", "", "listen on this Unix socket")
	tcp := flag.String("tcp", "", "listen on this TCP address")
	cert := flag.String("cert", "", "with TLS: our certificate (PEM)")
	key := flag.String("key", "", "with TLS: its key")
	ca := flag.String("ca", "", "with TLS: what client certificates must be signed by")
	age := flag.Duration("max-connection-age", 0, "send GOAWAY to connections of this age")
	streams := flag.Uint("max-streams", math.MaxUint32, "MAX_CONCURRENT_STREAMS")
	flag.Parse()

	network, address := "tcp", *tcp
	if *uds != "" {
		network, address = "unix", *uds
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	secure := insecure.NewCredentials()
	if *cert != "" {
		if secure, err = mutualTLS(*cert, *key, *ca); err != nil {
			return err
		}
	}
	options := []grpc.ServerOption{
		grpc.Creds(exposing{secure}),
		grpc.StatsHandler(watcher{}),
		grpc.MaxConcurrentStreams(uint32(*streams)),
	}
	if *age > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: *age, MaxConnectionAgeGrace: time.Hour,
		}))
	}
	server := grpc.NewServer(options...)
	client.RegisterProxyServiceServer(server, &proxy{})
	say("listening on %s", listener.Addr())
	return server.Serve(listener)
}

func mutualTLS(cert, key, ca string) (credentials.TransportCredentials, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + ca)
	}
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}), nil
}

// say writes one whole line; standard output is not buffered.
func say(format string, arguments ...any) {
	fmt.Fprintln(os.Stdout, fmt.Sprintf(format, arguments...))
}
