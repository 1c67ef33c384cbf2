# docker build -t speech2face .
# docker run --rm -v "$PWD:/data" speech2face audio=clip.wav     # writes to outputs/ in the current directory
FROM python:3.11-slim
WORKDIR /opt/speech2face
COPY pyproject.toml constraints.txt README.md LICENSE run.py ./
COPY conf conf
COPY speech2face speech2face
RUN pip install --no-cache-dir --constraint constraints.txt .
WORKDIR /data
ENTRYPOINT ["speech2face"]
