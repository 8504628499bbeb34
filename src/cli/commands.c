/* All commands and options there are. Parsing, help and suggestions read these tables; a new command is a line in the last
 * one and its file. */
#include "args.h"
#include "bench.h"
#include "call.h"
#include "dead.h"
#include "doctor.h"
#include "listen.h"
#include "publish.h"
#include "serve.h"
#include "topic.h"
#include "trail.h"

#include <stddef.h>

#define AT(field) offsetof(cli_settings, field)
#define END                              \
    {                                    \
        0, NULL, CLI_FLAG, 0, NULL, NULL \
    }

static const cli_option common[] = {
    {'u', "url", CLI_TEXT, AT(url), "URL", "the broker, such as file:/tmp/ferry.db [FERRY_URL]"},
    {'q', "quiet", CLI_FLAG, AT(quiet), NULL, "print errors only, no data and no notes"},
    {'v', "verbose", CLI_FLAG, AT(verbose), NULL, "trace what goes over the link, on stderr"},
    {'h', "help", CLI_FLAG, AT(help), NULL, "this text"},
    END,
};

static const cli_option call[] = {
    {'d', "data", CLI_TEXT, AT(data), "JSON", "the whole data; @FILE reads it from a file, @- from stdin"},
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "of the whole call: 500 (ms), 2s, 1m [30s]"},
    {'H', "header", CLI_LIST, AT(headers), "NAME=TEXT", "a header; may be repeated"},
    {0, "key", CLI_TEXT, AT(key), "KEY", "messages of one key keep their order"},
    {0, "idempotency-key", CLI_TEXT, AT(idempotency_key), "KEY",
     "lets a post or patch be sent again when its fate is unknown"},
    {0, "correlation", CLI_TEXT, AT(correlation), "ID", "what belongs together [the message's own id]"},
    {0, "full", CLI_FLAG, AT(full), NULL, "the whole response as JSON: data, has_errors, errors, ..."},
    {'r', "raw", CLI_FLAG, AT(raw), NULL, "print a string bare, without quotes"},
    {0, "in-flight", CLI_TEXT, AT(in_flight), "N", "of a stream: so many lines at once [64; with --no-wait 1024]"},
    END,
};

static const cli_option no_wait[] = {
    {0, "no-wait", CLI_FLAG, AT(no_wait), NULL, "done when the broker has it; nobody waits for an answer"},
    END,
};

/* Known, so that it can be refused with a reason. */
static const cli_option no_wait_refused[] = {
    {0, "no-wait", CLI_FLAG, AT(no_wait), NULL, NULL},
    END,
};

static const cli_option serve[] = {
    {0, "echo", CLI_FLAG, AT(echo), NULL, "answer with the data that came"},
    {0, "exec", CLI_TEXT, AT(exec), "COMMAND", "answer with what this shell command prints"},
    {'r', "raw", CLI_FLAG, AT(raw), NULL, "with --exec: strings go in and out as bare text, not JSON"},
    {'w', "workers", CLI_NUMBER, AT(workers), "N", "messages at once [1: one at a time, in order]"},
    {0, "verbs", CLI_TEXT, AT(verbs), "VERB,...", "only these: get, put, patch, post, delete [all]"},
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "longest time of one command [the caller's]"},
    {0, "attempts", CLI_NUMBER, AT(attempts), "N", "of a failing no-wait message, the first included [5]"},
    {0, "backoff", CLI_TIME, AT(backoff_ms), "TIME", "before the second attempt; doubles [1s]"},
    {0, "grace", CLI_TIME, AT(grace_ms), "TIME", "for what still runs after SIGINT or SIGTERM [10s]"},
    {0, "until-eof", CLI_FLAG, AT(until_eof), NULL, "stop at the end of stdin: live as long as a parent process"},
    {0, "count", CLI_TEXT, AT(count), "ROUTE", NULL},
    END,
};

static const cli_option dead[] = {
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "of the whole command [30s]"},
    END,
};

static const cli_option dead_list[] = {
    {'n', "limit", CLI_NUMBER, AT(limit), "N", "at most so many [100]"},
    {0, "full", CLI_FLAG, AT(full), NULL, "JSON on a terminal too"},
    END,
};

static const cli_option dead_requeue[] = {
    {0, "all", CLI_FLAG, AT(all), NULL, "all of the service"},
    END,
};

static const cli_option dead_purge[] = {
    {0, "all", CLI_FLAG, AT(all), NULL, "all of the service; so it is without ids"},
    {'y', "yes", CLI_FLAG, AT(yes), NULL, "do not ask"},
    END,
};

static const cli_option publish[] = {
    {'d', "data", CLI_TEXT, AT(data), "JSON", "the whole data; @FILE reads it from a file, @- from stdin"},
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "until it is given up: 500 (ms), 2s, 1m [30s]"},
    {'H', "header", CLI_LIST, AT(headers), "NAME=TEXT", "a header; may be repeated"},
    {0, "key", CLI_TEXT, AT(key), "KEY", "events of one key keep their order"},
    {0, "key-field", CLI_TEXT, AT(key_field), "FIELD", "the key is in the data: --key-field id"},
    {0, "correlation", CLI_TEXT, AT(correlation), "ID", "what belongs together [the message's own id]"},
    {0, "full", CLI_FLAG, AT(full), NULL, "how it ended as JSON: has_errors, errors, status"},
    {0, "in-flight", CLI_TEXT, AT(in_flight), "N", "of a stream: so many lines are confirmed together [1024]"},
    END,
};

static const cli_option listen[] = {
    {'g', "group", CLI_TEXT, AT(group), "GROUP", "its members share the events [none: this one gets every one]"},
    {0, "from", CLI_TEXT, AT(from), "WHERE", "new, earliest, 2h (ago), 2026-07-01T12:30Z, or a position [new]"},
    {'n', "count", CLI_NUMBER, AT(limit), "N", "end after so many"},
    {0, "drain", CLI_FLAG, AT(drain), NULL, "end when all that was stored at the start is handled"},
    {'r', "raw", CLI_FLAG, AT(raw), NULL, "the data alone, strings bare [a JSON object a line]"},
    {0, "exec", CLI_TEXT, AT(exec), "COMMAND", "run this shell command for each, with the data on its stdin"},
    {'w', "workers", CLI_NUMBER, AT(workers), "N", "with --exec: so many at once, in order per key [1]"},
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "with --exec: longest time of one command [none]"},
    {0, "attempts", CLI_NUMBER, AT(attempts), "N", "of an event whose command fails, the first included [5]"},
    {0, "backoff", CLI_TIME, AT(backoff_ms), "TIME", "before the second attempt; doubles [1s]"},
    {0, "block-key", CLI_FLAG, AT(block_key), NULL, "later events of a key wait for one of it that failed"},
    {0, "grace", CLI_TIME, AT(grace_ms), "TIME", "for what still runs after SIGINT or SIGTERM [10s]"},
    END,
};

static const cli_option ask[] = {
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "of the whole command [30s]"},
    END,
};

static const cli_option list[] = {
    {0, "full", CLI_FLAG, AT(full), NULL, "JSON on a terminal too"},
    END,
};

static const cli_option topic_create[] = {
    {0, "partitions", CLI_NUMBER, AT(partitions), "N", "parts for events with a key [8]"},
    {0, "keep", CLI_TEXT, AT(keep), "TIME", "how long events are kept: 12h, 30d [7d]"},
    {0, "keep-bytes", CLI_TEXT, AT(keep_bytes), "SIZE", "and how much of them: 512M, 20G [1G]"},
    END,
};

static const cli_option sure[] = {
    {'y', "yes", CLI_FLAG, AT(yes), NULL, "do not ask"},
    END,
};

static const cli_option notify[] = {
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "until it is given up [30s]"},
    {0, "workflow", CLI_TEXT, AT(workflow), "NAME", "of the workflow [FERRY_WORKFLOW, CH_WORKFLOW_NAME]"},
    {'H', "header", CLI_LIST, AT(headers), "NAME=TEXT", "a header; may be repeated"},
    {0, "key", CLI_TEXT, AT(key), "KEY", "events of one key keep their order"},
    {0, "correlation", CLI_TEXT, AT(correlation), "ID", "what belongs together [the message's own id]"},
    END,
};

static const cli_option send_files[] = {
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "of each file [30s]"},
    {0, "limit", CLI_NUMBER, AT(size), "BYTES", "of one file; a larger one is refused [1047552]"},
    {'H', "header", CLI_LIST, AT(headers), "NAME=TEXT", "a header; may be repeated"},
    {0, "key", CLI_TEXT, AT(key), "KEY", "events of one key keep their order"},
    {0, "correlation", CLI_TEXT, AT(correlation), "ID", "what belongs together [each message's own id]"},
    END,
};

static const cli_option doctor[] = {
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "to connect [5s]"},
    {0, "full", CLI_FLAG, AT(full), NULL, "only what the transport says, as one line of JSON"},
    END,
};

static const cli_option bench[] = {
    {0, "in-flight", CLI_TEXT, AT(in_flight), "N,...",
     "so many at once, each figure in its turn [1,64,512; post: 512]"},
    {0, "seconds", CLI_NUMBER, AT(seconds), "N", "for each figure [3]"},
    {0, "size", CLI_NUMBER, AT(size), "BYTES", "of the data [128]"},
    {0, "route", CLI_TEXT, AT(route), "ROUTE", "somebody else's service [an own one in a second process]"},
    {'w', "workers", CLI_NUMBER, AT(workers), "N", "of the own server [1]"},
    {'t', "timeout", CLI_TIME, AT(timeout_ms), "TIME", "of one call [30s]"},
    END,
};

#define DATA_TEXT                                                                            \
    "Data:\n"                                                                                \
    "  key=text           a string             key=@FILE    the text of a file (bytes, if it is not UTF-8)\n" \
    "  key:=JSON          any JSON value       key:=@FILE   JSON from a file\n"               \
    "  -d JSON            the whole data       -d @FILE     from a file; -d @- from stdin\n"  \
    "  -                  a stream: one JSON document a line of stdin, answers in the same order\n"

#define PUBLISH_TEXT                                                                            \
    "Data:\n"                                                                                \
    "  key=text           a string             key=@FILE    the text of a file (bytes, if it is not UTF-8)\n" \
    "  key:=JSON          any JSON value       key:=@FILE   JSON from a file\n"               \
    "  -d JSON            the whole data       -d @FILE     from a file; -d @- from stdin\n"  \
    "  -                  a stream: one JSON document a line of stdin, an event each\n"

#define CALL_ARGUMENTS "ROUTE [key=text | key:=JSON | key=@FILE | key:=@FILE]... | -d JSON | -"

const cli_command cli_commands[] = {
    {"get",
     CALL_ARGUMENTS,
     "ask a service; print its answer as JSON",
     "Asks, and prints the answer. A get changes nothing, so it may be sent again when a server dies.\n\n" DATA_TEXT,
     "  ferry get calc.add x:=1 y:=2\n"
     "  ferry get user.find name=ada -t 500              half a second at most\n"
     "  ferry get user.find -d '{\"name\":\"ada\"}' --full   with status, errors and headers\n"
     "  ferry get geo.lookup - < addresses.ndjson        a call a line, 64 at once\n"
     "  ferry get text.upper -r -d '\"ada\"'               prints ADA, not \"ADA\"\n",
     {common, call, no_wait_refused},
     cli_call_run,
     FERRY_GET},
    {"put",
     CALL_ARGUMENTS,
     "set something; print the answer",
     "Sets something to a state; doing so twice is as good as once, so it may be sent again.\n\n" DATA_TEXT,
     "  ferry put stock.level sku=a7 level:=12\n"
     "  ferry put doc.save name=readme text=@README.md\n"
     "  ferry put cache.warm key=a7 --no-wait\n",
     {common, call, no_wait},
     cli_call_run,
     FERRY_PUT},
    {"patch",
     CALL_ARGUMENTS,
     "change something; print the answer",
     "Changes something in part. Never sent twice: when its fate is unknown, you are told (exit 4).\n\n" DATA_TEXT,
     "  ferry patch user.profile id:=7 city=London\n"
     "  ferry patch user.profile id:=7 city=London --idempotency-key change-17\n",
     {common, call, no_wait},
     cli_call_run,
     FERRY_PATCH},
    {"post",
     CALL_ARGUMENTS,
     "make something happen; print the answer",
     "Makes something happen. Never sent twice: when its fate is unknown, you are told (exit 4).\n"
     "With --no-wait it is kept by the broker until a server did it, retried, and at last a dead letter.\n\n" DATA_TEXT,
     "  ferry post order.create customer=ada 'lines:=[{\"sku\":\"a7\",\"n\":2}]'\n"
     "  ferry post order.create - < orders.ndjson        a call a line, 64 at once\n"
     "  ferry post mail.send to=ada --no-wait\n"
     "  ferry post mail.send - --no-wait < mails.ndjson\n",
     {common, call, no_wait},
     cli_call_run,
     FERRY_POST},
    {"delete",
     CALL_ARGUMENTS,
     "remove something; print the answer",
     "Removes something; doing so twice is as good as once, so it may be sent again.\n\n" DATA_TEXT,
     "  ferry delete user.session id=a7\n"
     "  ferry delete cache.entry key=a7 --no-wait\n",
     {common, call, no_wait},
     cli_call_run,
     FERRY_DELETE},
    {"serve",
     "ROUTE... --echo | --exec COMMAND",
     "answer calls: any command is a service",
     "Serves one or more routes until SIGINT or SIGTERM, then finishes what runs and exits with 0.\n"
     "A route may end in .* (one more segment) or .** (any): quote it.\n"
     "\n"
     "--exec runs 'sh -c COMMAND' for each message. The data comes as JSON on its stdin; its stdout is the\n"
     "answer, as JSON, or as a string if it is none. Another exit status than 0 is a failure with its stderr as\n"
     "the message. Its environment has FERRY_MSG_ROUTE, _VERB, _ID, _KEY, _ATTEMPT, _REMAINING_MS and, for each\n"
     "header, _HEADER_NAME; and FERRY_WITHIN, by which a ferry that it runs inherits deadline, correlation and\n"
     "trace. At the deadline, or when the caller cancels, the whole process group gets SIGTERM, and 2 s later\n"
     "SIGKILL.\n",
     "  ferry serve calc.echo --echo\n"
     "  ferry serve text.upper --raw --exec 'tr a-z A-Z'\n"
     "  ferry serve order.total --exec \"jq '[.lines[] | .n * .price] | add'\" --workers 4\n"
     "  ferry serve mail.send --exec ./send-mail --attempts 3 --backoff 10s\n"
     "  ferry serve 'shop.*' --exec 'ferry get \"stock.${FERRY_MSG_ROUTE#shop.}\" -d @-'\n",
     {common, serve},
     cli_serve_run,
     0},
    {"publish",
     "TOPIC [key=text | key:=JSON | key=@FILE | key:=@FILE]... | -d JSON | -",
     "tell everybody that something happened",
     "Publishes an event, and ends when the broker has it. Whoever listens gets it; nobody listening is no error.\n"
     "Its topic is a dotted name: the domain first, then what happened in it.\n\n" PUBLISH_TEXT,
     "  ferry publish order.created id:=7 customer=ada --key 7\n"
     "  ferry publish order.created - --key-field id < orders.ndjson\n"
     "  ferry publish deploy.done -d '\"web 1.4.2\"'\n",
     {common, publish},
     cli_call_run,
     CLI_PUBLISH},
    {"listen",
     "TOPICS [--exec COMMAND]",
     "receive events: print them, or run a command for each",
     "Prints each event as one line of JSON: topic, id, key, attempt, headers, data. An event counts as handled only\n"
     "after its line was written. Ends at SIGINT or SIGTERM, with --count or --drain, or when nobody reads the lines\n"
     "any more; what was not written then goes back and is lost to nobody.\n"
     "TOPICS is one topic or a pattern: order.* (one more segment), order.** (any); quote it.\n"
     "\n"
     "Members of one --group share the events: each goes to one of them, and the group goes on where it was. Without\n"
     "a group every listener gets every event from when it started, or --from.\n"
     "\n"
     "--exec runs 'sh -c COMMAND' for each event, the data as JSON on its stdin (with --raw: a string bare), in the\n"
     "environment of 'ferry serve --exec'. What it prints comes out here. Another exit status than 0 is a failure: "
     "the\n"
     "event comes again later, and after --attempts it is a dead letter of TOPIC/GROUP ('ferry dead list').\n",
     "  ferry listen 'order.*'\n"
     "  ferry listen 'order.**' --group billing --from earliest --count 10\n"
     "  ferry listen order.created --group mailer --exec ./send-mail --attempts 3 --backoff 10s\n"
     "  ferry listen 'order.*' --from 2h --drain | jq -r .data.id\n",
     {common, listen},
     cli_listen_run,
     0},
    {"topic list",
     "",
     "the domains that events are published in",
     "Lists what the broker keeps events of. A table on a terminal, else one JSON document a line.\n",
     "  ferry topic list\n",
     {common, ask, list},
     cli_topic_list,
     0},
    {"topic create",
     "NAME",
     "make one, with settings of its own",
     "Makes a topic. The first event would do so, too, with the settings of the URL. Prints {\"count\": 1}, or 0 if "
     "it\n"
     "was there.\n",
     "  ferry topic create order\n"
     "  ferry topic create audit --partitions 1 --keep 365d --keep-bytes 20G\n",
     {common, ask, topic_create},
     cli_topic_create,
     0},
    {"topic describe",
     "NAME",
     "its settings, its size and its groups",
     "Prints what the broker tells of a topic as JSON.\n",
     "  ferry topic describe order | jq .groups\n",
     {common, ask},
     cli_topic_describe,
     0},
    {"topic delete",
     "NAME",
     "remove it, its events and its groups",
     "Removes a topic for good. Asks on a terminal, else wants --yes.\n",
     "  ferry topic delete order --yes\n",
     {common, ask, sure},
     cli_topic_delete,
     0},
    {"topic purge",
     "NAME",
     "remove its events; groups go on behind them",
     "Removes all events that are stored in a topic. Asks on a terminal, else wants --yes.\n",
     "  ferry topic purge order --yes\n",
     {common, ask, sure},
     cli_topic_purge,
     0},
    {"lag",
     "[TOPIC [GROUP]]",
     "how far behind the readers of a topic are",
     "Prints, for each group, how many events it has not handled yet, its members and its position: all up to there "
     "is\n"
     "handled. A table on a terminal, else one JSON document a line.\n",
     "  ferry lag order\n"
     "  ferry lag order billing | jq .lag\n",
     {common, ask, list},
     cli_lag_run,
     0},
    {"trail",
     "CORRELATION",
     "what was done to a message on its way",
     "Prints the audit trail of a correlation: what each program noted (ferry_hop) when it handled what belongs to it, "
     "oldest\n"
     "first: who, when_ms, what, route, id, changes. The last one says how far it is. A table on a terminal, else one "
     "JSON\n"
     "document a line. Exits with 3 if there is none.\n",
     "  ferry trail 7f3a0c.1\n"
     "  ferry trail 7f3a0c.1 | tail -1 | jq -r .what        its status\n",
     {common, ask, list},
     cli_trail_run,
     0},
    {"notify",
     "QUEUE STATUS PAYLOAD",
     "tell a queue how a step of a workflow ended",
     "Publishes {\"status\": STATUS, \"payload\": PAYLOAD, \"workflow\": NAME} on the topic QUEUE. PAYLOAD is JSON, "
     "else the\n"
     "text itself.\n",
     "  ferry notify results Succeeded '{\"files\":3}'\n"
     "  ferry notify results Failed \"$(tail -1 log)\" --workflow nightly\n",
     {common, notify},
     cli_notify_run,
     CLI_PUBLISH},
    {"send-files",
     "DIR TOPIC",
     "publish each file of a directory",
     "Publishes an event for each file in DIR, in the order of their names: {NAME: content}, a string if it is UTF-8,\n"
     "else bytes. Of a file over the limit nothing is sent, the others are; the exit status is then 2. Hidden files "
     "and\n"
     "directories are left out.\n",
     "  ferry send-files ./results workflow.results\n"
     "  ferry send-files ./results workflow.results --correlation \"$WORKFLOW\" --key \"$WORKFLOW\"\n",
     {common, send_files},
     cli_send_files_run,
     CLI_PUBLISH},
    {"dead list",
     "[SERVICE | TOPIC/GROUP]",
     "messages that were given up",
     "Lists dead letters: no-wait messages and events whose handler failed every attempt, or rejected them. Those of\n"
     "events stand under TOPIC/GROUP. A table on a terminal, else one JSON document a line.\n",
     "  ferry dead list\n"
     "  ferry dead list order/mailer\n"
     "  ferry dead list mail --limit 1000 | jq -r .id\n",
     {common, dead, dead_list},
     cli_dead_list,
     0},
    {"dead show",
     "SERVICE ID",
     "one of them, with its data",
     "Prints the whole record of one dead letter as JSON.\n",
     "  ferry dead show mail 7f3a0c.1\n",
     {common, dead},
     cli_dead_show,
     0},
    {"dead requeue",
     "SERVICE ID... | SERVICE --all",
     "send them to their service again",
     "Puts dead letters back where they came from, as fresh ones. Prints {\"count\": how many}.\n",
     "  ferry dead requeue mail 7f3a0c.1 7f3a0c.2\n"
     "  ferry dead requeue mail --all\n",
     {common, dead, dead_requeue},
     cli_dead_requeue,
     0},
    {"dead purge",
     "SERVICE [ID...]",
     "forget them",
     "Removes dead letters for good: those with the ids, without any all of the service. Asks on a terminal, else "
     "wants\n"
     "--yes. Prints {\"count\": how many}.\n",
     "  ferry dead purge mail 7f3a0c.1\n"
     "  ferry dead purge mail --yes\n",
     {common, dead, dead_purge},
     cli_dead_purge,
     0},
    {"doctor",
     "",
     "check the connection and what the broker promises",
     "Connects, calls a service that nobody has, and asks the transport what it can promise here. What is bad is red "
     "on a\n"
     "terminal (NO_COLOR turns that off). Exits with 0 if all is well, else with 3. Never prints a password.\n",
     "  ferry doctor\n"
     "  ferry doctor -u file:/tmp/ferry.db\n",
     {common, doctor},
     cli_doctor_run,
     0},
    {"bench call",
     "",
     "calls a second and how long they take",
     "Measures calls to an echo server, which it starts itself in a second process (for mem: in this one). Prints one "
     "line\n"
     "of JSON a figure: transport, in_flight, size, calls, errors, calls_per_s, p50_us, p99_us.\n",
     "  ferry bench call\n"
     "  ferry bench call -u file:/tmp/bench.db --in-flight 1,64,512 --seconds 10 --size 1024\n"
     "  ferry bench call --route calc.echo\n",
     {common, bench},
     cli_bench_call,
     0},
    {"bench post",
     "",
     "no-wait posts a second",
     "Measures no-wait posts, queued in windows of --in-flight that are confirmed together, to a server that counts "
     "them.\n"
     "Prints one line of JSON a figure: transport, in_flight, size, posts, errors, posts_per_s, handled, "
     "handled_per_s, and\n"
     "p50_us, p99_us of a window.\n",
     "  ferry bench post\n"
     "  ferry bench post --in-flight 64,4096 --seconds 10\n",
     {common, bench},
     cli_bench_post,
     0},
    {0},
};
