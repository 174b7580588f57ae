// Package fakesink answers like InfluxDB and keeps nothing: it checks or counts the lines that it is given.
//
//	POST /write  /api/v2/write  /api/v3/write_lp ──▶ check each line, or count line feeds ──▶ figures
//	GET  /ping  /health  /query (SHOW DATABASES, CREATE DATABASE)  /stats
//
// On demand it follows the sequence numbers of the load generator. It is the other end of benchmarks, where a
// database would be the limit, and of fault tests: on demand it answers late, refuses a share of the
// requests, or hangs up. Each API answers bad lines as its server does: 1.x and 3.x keep the good ones, 2.x
// keeps none.
package fakesink
