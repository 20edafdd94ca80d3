#!/bin/sh
# Take out of a virtual environment what avsent never opens. Licence texts stay, all of them: they
# lie in the *.dist-info folders.
#
#   sh docker/slim.sh /opt/avsent
set -eu

venv=$1
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
models=$site/face_recognition_models/models
cd "$site"

# Tests of the libraries.
find . -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +

# torch: C++ headers and build files, of use to a compiler only; test programs.
rm -rf torch/include torch/share
if test -d torch/bin; then
    find torch/bin -mindepth 1 ! -name torch_shm_manager -delete
fi
rm -f torch/lib/lib*_test.so torch/lib/libbackend_with_compiler.so torch/lib/libaoti_custom_ops.so
find . -name '*.a' -delete

# OpenCV's own face cascades. avsent finds faces with dlib.
rm -f cv2/data/*.xml

# Of dlib's four files avsent reads two: the 68 landmarks and the detector's network. The other
# two are for recognising people, which avsent does not do, and for five landmarks.
rm -f "$models/dlib_face_recognition_resnet_model_v1.dat" \
      "$models/shape_predictor_5_face_landmarks.dat"

# silero-vad's network in the forms that avsent does not load.
find silero_vad/data -name 'silero_vad*' ! -name silero_vad.jit -delete

# Names of functions inside libraries that no program looks up: a fifth of torch's size.
for library in torch/lib/libtorch_cpu.so torch/lib/libtorch_python.so torch/lib/libtorch_cuda.so \
               llvmlite/binding/libllvmlite.so; do
    if test -f "$library"; then
        strip --strip-unneeded "$library"
    fi
done
