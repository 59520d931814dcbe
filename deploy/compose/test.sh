#!/usr/bin/env bash
# The three containers of docker-compose.yml, tried from outside as their clients see
# them: one count whichever node is asked, one node killed and the others answering on,
# the killed one back, one stopped in order.
#
#   make compose-test
#
# It builds the image, starts a compose project of its own, asks with the binary the
# image was built from, and takes everything down again with its volumes, whatever
# happened. Exits 0 when all held, 1 when something did not (the nodes' logs then stand
# above), and 0 with a last line "skipped: ..." where no Docker engine answers.
#
# WEIR_IMAGE    what to build and start (weir:dev)
# SKIPPED       the exit code in place of 0 where nothing could be tried
# COMPOSE       the compose command (docker-compose, else docker compose)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export WEIR_IMAGE=${WEIR_IMAGE:-weir:dev}
project=weirtest
nodes=(n1 n2 n3)
declare -A grpc=([n1]=127.0.0.1:7070 [n2]=127.0.0.1:7170 [n3]=127.0.0.1:7270)
ports=(7070 7072 7170 7172 7270 7272)
weir=dist/image/weir
domain=compose-test # of compose-test.yaml: each user five times
at_once=2000        # ms that an answer may take, the start of the asking process in it
users=20            # so many that each node owns some

step() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
skip() { printf 'skipped: %s\n' "$*"; exit "${SKIPPED:-0}"; }
now() { local t=${EPOCHREALTIME/./}; echo "${t%???}"; } # in ms

# -- what is needed ---------------------------------------------------------------

command -v docker >/dev/null || skip "no docker command here"
said=$(timeout 20 docker version --format '{{.Server.Version}}' 2>&1) || skip "no Docker engine answers: ${said##*$'\n'}"
if [[ -z ${COMPOSE:-} ]]; then
	if command -v docker-compose >/dev/null; then
		COMPOSE=docker-compose
	elif docker compose version >/dev/null 2>&1; then
		COMPOSE="docker compose"
	else
		fail "a Docker engine answers, but there is neither docker-compose nor docker compose: install one"
	fi
fi
read -ra compose_command <<<"$COMPOSE"
compose() { "${compose_command[@]}" -p "$project" -f docker-compose.yml "$@"; }
container() { compose ps -q "$1" </dev/null; }

# -- what is left behind: nothing ---------------------------------------------------

down() { compose down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1; }
finish() {
	local code=$?
	trap - EXIT
	trap '' INT TERM HUP PIPE # nothing may leave containers behind: no second signal, no reader that is gone
	if ((code != 0)); then
		echo "== what the nodes said"
		compose ps || true
		compose logs --no-color --tail=150 || true
	fi
	step "take down"
	down || { echo "FAILED: containers of project $project are left: docker ps" >&2; code=1; }
	exit "$code"
}

step "image $WEIR_IMAGE"
make --no-print-directory image IMAGE="$WEIR_IMAGE"

down || true # what a run that was killed has left
for port in "${ports[@]}"; do
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
		fail "127.0.0.1:$port is taken: stop what listens there (a weir serve, a demo, docker-compose down?)"
	fi
done

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# -- asking ---------------------------------------------------------------------------

# ask NODE USER asks once and sets answer (allowed or denied), reason, degraded (true or
# false) and took (ms). Anything but an answer ends the test.
ask() {
	local node=$1 user=$2 code=0 out start
	start=$(now)
	out=$("$weir" check "$domain" "user=$user" --addr "${grpc[$node]}" --timeout 5s -o json 2>&1 </dev/null) || code=$?
	took=$(($(now) - start))
	case $code in
	0) answer=allowed ;;
	3) answer=denied ;;
	*) fail "$node, asked for $user, gave no answer (exit $code after $took ms): $out" ;;
	esac
	[[ $out =~ \"reason\":\ *\"([a-z_]+)\" ]] || fail "$node, asked for $user: no reason in: $out"
	reason=${BASH_REMATCH[1]}
	degraded=false
	if grep -q '"degraded": *true' <<<"$out"; then degraded=true; fi
}

# expect WANT NODE USER asks and compares.
expect() {
	ask "$2" "$3"
	[[ $answer == "$1" ]] || fail "$2 says $answer ($reason) for $3, want $1: the count is not one for all"
	[[ $degraded == false ]] || fail "$2 answers for $3 degraded, with all its peers up"
}

# one_count PREFIX NODE... spends five hits of fresh users in turn through the nodes and
# then wants a denial from each of them.
one_count() {
	local prefix=$1 u i start
	shift
	local through=("$@")
	start=$(now)
	for ((u = 1; u <= users; u++)); do
		for ((i = 0; i < 5; i++)); do
			expect allowed "${through[$(((u + i) % ${#through[@]}))]}" "$prefix$u"
		done
		for node in "${through[@]}"; do
			expect denied "$node" "$prefix$u"
		done
	done
	echo "$users users, five each and no more, through ${through[*]}: $(($(now) - start)) ms"
}

# poll SECONDS WHAT COMMAND... waits while the command returns 75. What it prints is what
# is missing, and is shown when that changes.
poll() {
	local limit=$1 what=$2 start code missing said=""
	shift 2
	start=$(now)
	while true; do
		code=0
		missing=$("$@") || code=$?
		((code != 0)) || break
		((code == 75)) || exit "$code"
		if [[ $missing != "$said" ]]; then
			said=$missing
			printf '%s\n' "$missing" | sed 's/^/  waiting: /'
		fi
		if (($(now) - start > limit * 1000)); then
			fail "after $limit s still not $what"
		fi
		sleep 0.25
	done
	echo "$what: after $(($(now) - start)) ms"
}

# healthy NODE...: all of them are.
healthy() {
	local node state code=0
	for node in "$@"; do
		state=$(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}, {{.RestartCount}} restarts{{range .State.Health.Log}}
{{.Output}}{{end}}' "$(container "$node")" 2>&1) || state="not there"
		if [[ $state != "running healthy,"* ]]; then
			state=$(sed '/^$/d' <<<"$state")
			if [[ $state == *$'\n'* ]]; then state="${state%%$'\n'*}: ${state##*$'\n'}"; fi
			printf '%s is %s\n' "$node" "$state"
			code=75
		fi
	done
	return $code
}

# sees_domain DOMAIN: every node applies policies of it.
sees_domain() {
	local node out code=0
	for node in "${nodes[@]}"; do
		out=$("$weir" check "$1" user=nobody client=nobody --peek --addr "${grpc[$node]}" -o json 2>&1 </dev/null) || true
		if ! grep -q '"reason": *"ok"' <<<"$out"; then
			echo "$node has no policy of $1 yet"
			code=75
		fi
	done
	return $code
}

# exact NODE...: all users are answered, by none of these nodes degraded.
exact() {
	local node u count=0
	for node in "$@"; do
		for ((u = 1; u <= users; u++)); do
			ask "$node" "a$u"
			if [[ $degraded == true ]]; then count=$((count + 1)); fi
		done
	done
	if ((count > 0)); then
		echo "some answers are degraded"
		return 75
	fi
}

# -- the test -------------------------------------------------------------------------

step "start"
compose up -d
poll 120 "all healthy" healthy "${nodes[@]}"
poll 15 "seeded everywhere" sees_domain shop-api
"$weir" policy apply deploy/compose/compose-test.yaml --yes --reason "compose test" --addr "${grpc[n2]}" </dev/null
poll 15 "policy everywhere" sees_domain "$domain"

step "one count for all three"
one_count a n1 n2 n3

step "n1 is killed"
docker kill --signal KILL "$(container n1)" >/dev/null
slowest=0 unsure=0
for ((u = 1; u <= users; u++)); do
	for node in n2 n3; do
		ask "$node" "a$u"
		((took <= at_once)) || fail "$node took $took ms for a$u after n1 was killed, want at most $at_once"
		if ((took > slowest)); then slowest=$took; fi
		if [[ $degraded == true ]]; then unsure=$((unsure + 1)); fi
	done
done
echo "$((2 * users)) answers, $unsure of them degraded, the slowest after $slowest ms"
poll 30 "no answer degraded, as the table is without n1" exact n2 n3
one_count b n2 n3

step "n1 comes back"
docker start "$(container n1)" >/dev/null
poll 90 "all healthy" healthy "${nodes[@]}"
poll 30 "no answer degraded" exact "${nodes[@]}"

step "n2 is stopped in order"
id=$(container n2)
start=$(now)
docker stop -t 40 "$id" >/dev/null
took=$(($(now) - start))
code=$(docker inspect --format '{{.State.ExitCode}}' "$id")
[[ $code == 0 ]] || fail "n2 ended with exit code $code when it was stopped, want 0"
((took <= 31000)) || fail "n2 took $took ms to stop, want at most 30 s"
echo "exit code 0 after $took ms"
poll 30 "no answer degraded" exact n1 n3

echo "compose test passed"
