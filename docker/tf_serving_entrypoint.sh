#!/bin/sh
# Serve the model MODEL_NAME below MODEL_BASE_PATH. Arguments of `docker run` come last, and of a
# repeated flag the last counts. The server takes the place of this shell, so that a stop of the
# container reaches it, and it can finish what is in flight.
# SageMaker calls the image with the one word `serve`. Where --cloud_contract is given, or the
# variable that stands for it, the cloud says what is served, and not MODEL_NAME.
if [ "${1:-}" = serve ]; then
    shift
    exec salver serve --cloud_contract=sagemaker "$@"
fi
for argument in "$@" "--cloud_contract=${SALVER_FLAG_CLOUD_CONTRACT:-none}"; do
    case $argument in
    --cloud_contract=none) ;;
    --cloud_contract=*) exec salver serve "$@" ;;
    esac
done
exec tensorflow_model_server \
    --port=8500 \
    --rest_api_port=8501 \
    --model_name="${MODEL_NAME:-model}" \
    --model_base_path="${MODEL_BASE_PATH:-/models}/${MODEL_NAME:-model}" \
    "$@"
