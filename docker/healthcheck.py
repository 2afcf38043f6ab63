"""Ask the server of this container whether every model has an available version; the status says.

The REST port is what the server was started with: `docker run IMAGE --rest_api_port=8080` needs no
setting here, and neither does a cloud that says the port by a variable. Only the standard library,
which starts fast.
"""

import http.client
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PORT = "8501"  # what tf_serving_entrypoint.sh gives
CLOUD_PORT = "8080"
CLOUD_VARIABLES = {"sagemaker": "SAGEMAKER_BIND_TO_PORT", "vertex": "AIP_HTTP_PORT"}
PATIENCE_S = 4.0
COMMAND_LINE = Path("/proc/1/cmdline")


def value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """The value of `--flag=value` or `--flag value`; the last one, where it is repeated."""
    value = None
    for position, argument in enumerate(arguments):
        name, equals, given = argument.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            value = given if equals else "".join(arguments[position + 1 : position + 2])
    return value


def port_of(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The REST port of a server with these arguments and variables."""

    def setting(flag: str) -> str | None:
        given = value_of(flag, arguments)
        has_variables = "serve" in arguments  # of `salver serve` alone
        variable = f"SALVER_FLAG_{flag.upper()}"
        return given or (environment.get(variable) if has_variables else None)

    contract = setting("cloud_contract") or "none"
    implied = PORT
    if contract != "none":
        implied = environment.get(CLOUD_VARIABLES.get(contract, "")) or CLOUD_PORT
    return int(setting("rest_api_port") or implied)


def is_ready(port: int, is_tls: bool) -> bool:
    """Whether `/healthz/ready` of this machine is answered with 200."""
    connection: http.client.HTTPConnection
    if is_tls:
        # Its certificate names the service, not this loopback: there is nothing to compare it with.
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=PATIENCE_S, context=trusting
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/healthz/ready")
        answer = connection.getresponse()
        sys.stdout.write(answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"{error}\n")
        return False
    finally:
        connection.close()
    return answer.status == http.client.OK


def main(command_line: Path = COMMAND_LINE, environment: Mapping[str, str] = os.environ) -> int:
    """The exit status: 0 when it is ready, 1 when it is not."""
    arguments = command_line.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    port = port_of(arguments, environment)
    return 0 if is_ready(port, bool(value_of("rest_ssl_config_file", arguments))) else 1


if __name__ == "__main__":
    sys.exit(main())
