// Package featherwire is the client of Featherwire, the gateway to Featherless.ai.
//
// The messages of the contract are in featherwire.example/go/featherwire/v1.
package featherwire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	featherwirev1 "featherwire.example/go/featherwire/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// Version is the version of the contract.
const Version = "0.1.0"

const (
	defaultAddress = "http://127.0.0.1:8000"
	// A page of models, or an answer with audio.
	messageBytesMax = 64 << 20
	// Pings find a connection that has broken silently, also while a model is silent. The gateway
	// sends such pings too, every 20 seconds.
	pingInterval = 30 * time.Second
	pingTimeout  = 20 * time.Second
)

// Options say where the gateway is, and how it is called. The zero value of a field stands for the
// variable that its comment names.
type Options struct {
	// The gateway's address, with https:// if it has TLS. FEATHERWIRE_GATEWAY, or
	// http://127.0.0.1:8000.
	Address string
	// The gateway key. FEATHERWIRE_API_KEY.
	APIKey string
	// A file with the authorities of the gateway's certificate (PEM). FEATHERWIRE_GATEWAY_CA, or
	// the authorities of this machine.
	CA string
	// A file with the certificate to show (PEM). FEATHERWIRE_GATEWAY_CERT.
	Cert string
	// A file with the private key of Cert (PEM). FEATHERWIRE_GATEWAY_CERT_KEY.
	CertKey string
	// The longest time that a call may take, unless its context has a deadline. 0 is no limit.
	Timeout time.Duration
	// More options of the connection.
	Dial []grpc.DialOption
}

// Client is a connection to a gateway. All calls return errors of the type *Error.
type Client struct {
	// Conn is for clients of other services, such as those of featherwire/admin/v1.
	Conn *grpc.ClientConn
	// Chats are chats. See also StreamChat.
	Chats featherwirev1.ChatServiceClient
	// Completions are text completions.
	Completions featherwirev1.CompletionServiceClient
	// Embeddings are embeddings.
	Embeddings featherwirev1.EmbeddingServiceClient
	// Catalogue is the catalogue of models. See also Models.
	Catalogue featherwirev1.ModelServiceClient
	// Account is the plan of the account, and its concurrency units.
	Account featherwirev1.AccountServiceClient
	// Caller is the caller's own key.
	Caller featherwirev1.CallerServiceClient
}

// New makes a client, which connects at the first call.
func New(options Options) (*Client, error) {
	scheme, target, err := parse(or(options.Address, "FEATHERWIRE_GATEWAY", defaultAddress))
	if err != nil {
		return nil, err
	}
	// Deprecated in later versions of grpc, but there in all of them.
	security := grpc.WithInsecure()
	if scheme == "https" {
		config, err := tlsConfig(options)
		if err != nil {
			return nil, err
		}
		security = grpc.WithTransportCredentials(credentials.NewTLS(config))
	}
	caller := &caller{key: or(options.APIKey, "FEATHERWIRE_API_KEY", ""), timeout: options.Timeout}
	dial := []grpc.DialOption{
		security,
		grpc.WithChainUnaryInterceptor(caller.unary),
		grpc.WithChainStreamInterceptor(caller.stream),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(messageBytesMax),
			grpc.MaxCallSendMsgSize(messageBytesMax),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:    pingInterval,
			Timeout: pingTimeout,
		}),
	}
	conn, err := grpc.Dial(target, append(dial, options.Dial...)...)
	if err != nil {
		return nil, err
	}
	return &Client{
		Conn:        conn,
		Chats:       featherwirev1.NewChatServiceClient(conn),
		Completions: featherwirev1.NewCompletionServiceClient(conn),
		Embeddings:  featherwirev1.NewEmbeddingServiceClient(conn),
		Catalogue:   featherwirev1.NewModelServiceClient(conn),
		Account:     featherwirev1.NewAccountServiceClient(conn),
		Caller:      featherwirev1.NewCallerServiceClient(conn),
	}, nil
}

// Close ends running calls, and closes the connection.
func (client *Client) Close() error {
	return client.Conn.Close()
}

// Chat asks for a complete answer.
func (client *Client) Chat(
	ctx context.Context, request *featherwirev1.CreateChatCompletionRequest,
) (*featherwirev1.CreateChatCompletionResponse, error) {
	return client.Chats.CreateChatCompletion(ctx, request)
}

// caller adds the key and the timeout to calls, and makes their errors those of this package.
type caller struct {
	key     string
	timeout time.Duration
}

func (caller *caller) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if caller.key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+caller.key)
	}
	if _, has := ctx.Deadline(); has || caller.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, caller.timeout)
}

func (caller *caller) unary(
	ctx context.Context, method string, request, response interface{},
	conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	ctx, cancel := caller.context(ctx)
	defer cancel()
	var header, trailer metadata.MD
	options = append(options, grpc.Header(&header), grpc.Trailer(&trailer))
	return typed(invoke(ctx, method, request, response, conn, options...), header, trailer)
}

func (caller *caller) stream(
	ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, cancel := caller.context(ctx)
	stream, err := open(ctx, description, conn, method, options...)
	if err != nil {
		cancel()
		return nil, typed(err, nil, nil)
	}
	return &typedStream{ClientStream: stream, cancel: cancel}, nil
}

// typedStream is a stream with errors of this package.
type typedStream struct {
	grpc.ClientStream
	cancel context.CancelFunc
}

func (stream *typedStream) RecvMsg(message interface{}) error {
	err := stream.ClientStream.RecvMsg(message)
	if err == nil {
		return nil
	}
	// The call has ended, so this releases only its timer.
	defer stream.cancel()
	header, _ := stream.Header()
	return typed(err, header, stream.Trailer())
}

func tlsConfig(options Options) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if path := or(options.CA, "FEATHERWIRE_GATEWAY_CA", ""); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", path)
		}
	}
	cert := or(options.Cert, "FEATHERWIRE_GATEWAY_CERT", "")
	key := or(options.CertKey, "FEATHERWIRE_GATEWAY_CERT_KEY", "")
	if (cert == "") != (key == "") {
		return nil, errors.New("a certificate is shown together with its key: set both or none")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// parse returns the scheme of an address, and its host with the port. Its errors do not repeat the
// address, because that may contain a password.
func parse(address string) (scheme, target string, err error) {
	parts, err := url.Parse(address)
	if err != nil || parts.Host == "" {
		parts, err = url.Parse("http://" + address)
	}
	if err != nil || parts.Host == "" || parts.Scheme != "http" && parts.Scheme != "https" {
		return "", "", fmt.Errorf("the gateway's address is not a URL such as %s", defaultAddress)
	}
	if parts.Path != "" && parts.Path != "/" || parts.RawQuery != "" || parts.User != nil {
		return "", "", fmt.Errorf(
			"the gateway's address is only scheme, host and port: %s", defaultAddress)
	}
	port := parts.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[parts.Scheme]
	}
	return parts.Scheme, net.JoinHostPort(parts.Hostname(), port), nil
}

func or(value, variable, unset string) string {
	if value != "" {
		return value
	}
	if value := os.Getenv(variable); value != "" {
		return value
	}
	return unset
}
