// Package outbound calls addresses that others name, over HTTP/1.1: the webhooks of tenants. A person who may name
// an address must not reach with it what only this machine can reach.
//
// So a call is made by https, or by http where the operator has allowed the address. A name is looked up once for each
// connection; every address that the DNS gives is checked, and the connection is made to one of the checked addresses, never to
// the name: a DNS that answers differently the second time changes nothing. A connection that is kept was checked when it
// was made, and is kept for five minutes at most. If one of a name's addresses may not be called, the call is
// refused. No redirect is followed. The environment names no proxy; only the operator does. With a proxy names are looked up and checked
// here all the same, and the proxy is asked (CONNECT) for the checked address, never for a name: a proxy that
// takes names alone cannot be used.
//
// A request is written once. A connection that breaks fails the call, whatever was sent: whether to repeat is the caller's
// decision. net/http's transport is not used, because it repeats requests by rules of its own, logs what a peer wrote unasked, and
// costs twice the CPU; answers are read by net/http's ReadResponse.
//
// Everything is bounded: the time of a call, the connections to a host, the octets of an answer. HTTP/2 is not spoken: a host
// that answers quickly is served as well over a few connections.
package outbound
